"""The operating-system layer: descriptors, files, signals, polling and the terminal."""
