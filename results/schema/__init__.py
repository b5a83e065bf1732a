"""Pydantic models of everything stored on disk."""
