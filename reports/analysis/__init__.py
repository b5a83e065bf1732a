"""Rows and series computed from records; nothing here draws or formats."""
