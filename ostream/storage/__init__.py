"""Files that persist between runs: conversations and contexts."""
