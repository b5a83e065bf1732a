"""Figures, drawn by matplotlib as SVG."""

from reports.figures.history import history_figure

__all__ = ["history_figure"]
