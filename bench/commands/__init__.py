"""Implementations of the commands. They take parsed options, print or write results, and may return an exit code."""
