"""Draw figures as SVG with matplotlib."""

from reports.figures.history import history_figure

__all__ = ["history_figure"]
