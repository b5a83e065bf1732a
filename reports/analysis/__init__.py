"""Compute the rows and series that reports show; nothing here draws or formats."""
