"""Implementations of the commands. Each takes parsed options and prints, writes, or returns an exit code."""
