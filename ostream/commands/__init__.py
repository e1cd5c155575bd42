"""One module for each command: `main(arguments, messages)` parses, `run` does the work and gives the exit status."""
