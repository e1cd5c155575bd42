"""The wire protocol: lines, chunks, requests and metrics. No module here opens a connection or writes output."""
