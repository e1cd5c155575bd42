"""Recorded traffic: the file format, a server that replays recordings, and a proxy that records them."""

import os

if os.name != "posix":
    raise ImportError("recordings and ostream.testing need a POSIX system, such as WSL")
