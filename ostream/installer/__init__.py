"""What `ostream` says of itself, how it installs itself, and how a shell completes its commands."""
