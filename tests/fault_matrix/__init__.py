"""The fault matrix: each way in which an answer can fail, with each way to request it."""
