"""The plotted numbers of a figure as a table, for readers who cannot see the figure or want its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

from reports.format import numbers
from results import Interval


class FigureTable(NamedTuple):
    """The plotted numbers as a table of texts."""

    columns: tuple[str, ...]
    """The headings. The first column names what a row is about."""
    rows: tuple[tuple[str, ...], ...]


def figure_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> FigureTable:
    """Return a table with one text per column in each row."""
    texts = tuple(rows)
    assert all(len(row) == len(columns) for row in texts)
    return FigureTable(columns, texts)


def with_interval(interval: Interval) -> str:
    """Return a score or a share with its interval: `0.948 (0.921–0.975)`.

    The interval is clipped to [0, 1], and left out if it is infinite.
    """
    if not (isfinite(interval.low) and isfinite(interval.high)):
        return numbers.score(interval.middle)
    return numbers.estimate(interval.middle, max(interval.low, 0.0), min(interval.high, 1.0))
