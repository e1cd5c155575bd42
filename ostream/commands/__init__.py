"""One module for each command. `main` parses the arguments; `run` does the work and returns the exit status."""
