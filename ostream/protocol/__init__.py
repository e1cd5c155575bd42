"""The wire protocol as pure functions: lines, chunks, requests and metrics. No input or output."""
