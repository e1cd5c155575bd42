"""Shared by the commands: options, filter input, relaying, the tool loop and presentation."""
