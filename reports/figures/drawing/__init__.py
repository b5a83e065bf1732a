"""Shared parts of figures: canvas, styles, axes and alternative texts."""
