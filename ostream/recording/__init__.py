"""Recorded traffic: the file format, a server that replays recordings, and a proxy that records them."""
