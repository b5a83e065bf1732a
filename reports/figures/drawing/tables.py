"""The plotted numbers of a figure as a table, for readers who cannot see the figure or want its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import NamedTuple, TypeVar

from reports.format import numbers
from results import Interval

MAX_STEPS = 8
"""The largest number of steps of a curve in a table."""
Step = TypeVar("Step")


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


def few_of(steps: Sequence[Step]) -> list[Step]:
    """Select at most `MAX_STEPS` evenly spaced steps, with the first and the last one."""
    last = len(steps) - 1
    count = min(MAX_STEPS, len(steps))
    return [steps[round(index * last / max(count - 1, 1))] for index in range(count)]


def with_range(mean: float, low: float, high: float, write: Callable[[float], str]) -> str:
    """Return a mean over seeds with the lowest and the highest seed: `0.50 (0.41–0.58)`. Equal ends are left out."""
    ends = write(low), write(high)
    return write(mean) if ends[0] == ends[1] else f"{write(mean)} ({ends[0]}–{ends[1]})"


def with_interval(interval: Interval) -> str:
    """Return a score or a share with its interval: `0.948 (0.921–0.975)`.

    The interval is clipped to [0, 1], and left out if it is infinite.
    """
    if not (isfinite(interval.low) and isfinite(interval.high)):
        return numbers.score(interval.middle)
    return numbers.estimate(interval.middle, max(interval.low, 0.0), min(interval.high, 1.0))
