"""Exports for the terminal and for other programs: CSV, Parquet, Markdown, LaTeX, JSON."""

from reports.export.comparison import (
    comparison_as_csv,
    comparison_as_document,
    comparison_as_markdown,
    render_comparison,
)
from reports.export.comparison_latex import comparison_as_latex

__all__ = [
    "comparison_as_csv",
    "comparison_as_document",
    "comparison_as_latex",
    "comparison_as_markdown",
    "render_comparison",
]
