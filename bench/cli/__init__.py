"""Declarations of the commands, with their options and shell completion. `main` registers the commands."""
