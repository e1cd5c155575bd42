"""The commands, one module each. `main` parses the arguments; `run` does the work and returns the exit status."""
