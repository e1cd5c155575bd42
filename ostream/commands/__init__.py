"""One module for each command: `main(arguments, diagnostics)` parses, `run` does the work and gives the exit status."""
