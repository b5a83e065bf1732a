"""Sentences and cells derived from the data."""
