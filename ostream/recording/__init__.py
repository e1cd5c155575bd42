"""Recorded traffic: its format, a server that replays it, and a proxy that records it."""
