"""This machine: descriptors, files, signals and the terminal."""
