"""The options of `ostream` itself: help, installing the commands under their own names, and shell completion."""
