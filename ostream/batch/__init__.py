"""Batch processing: bounded concurrency, resumable output, progress."""
