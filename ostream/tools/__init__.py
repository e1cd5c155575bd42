"""Tools that a model may call: Python functions, and executables declared in a directory."""
