"""One module for each command: `main(arguments, diagnostics)` parses, `run` works and returns the exit status."""
