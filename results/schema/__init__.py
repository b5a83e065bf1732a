"""Pydantic models of every document that is stored on disk."""
