"""The fault matrix: every way an answer can fail, against every way to ask for it."""
