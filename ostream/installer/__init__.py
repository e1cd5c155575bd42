"""The options of `ostream` itself: help, links to the commands under their own names, and shell completion."""
