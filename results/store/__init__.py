"""Read, write, merge and verify runs on disk."""
