"""Many requests: read, sent some at a time, answered in a file that outlives a kill, and told of meanwhile."""
