"""The layout of a table for a paper: which rows and columns stand together, so that the table fits a page.

Widths are estimates in points that err on the large side. They hold for the 10 pt fonts of LaTeX's standard classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.memory_share import Setting

LINE_POINTS = 345
"""The width of the text of a one-column page of the class `article`."""
LETTER_POINTS = 5.0
"""The width of a letter or a digit."""
GAP_POINTS = 8
"""The space between two columns."""
NAME_POINTS = 110
"""The largest width of the column of names. Longer names are broken."""
HEAD_POINTS = 100
"""A name of a task is broken if it is wider than this and than its columns."""
MAX_LINES = 34
"""The largest number of lines of the parts in one table, so that it fits a page with its caption and notes."""
HEAD_LINES = 4
"""The lines of a part besides those of architectures and reference scores: heads, rules and the space below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a table: some architectures in some columns."""

    archs: tuple[str, ...]
    settings: tuple[Setting, ...]
    column_points: Mapping[Setting, float]
    """The width of each column, with the space beside it."""

    @property
    def tasks(self) -> list[tuple[str, list[int]]]:
        """The lengths of each task, in the order of the columns."""
        lengths: dict[str, list[int]] = {}
        for task, length in self.settings:
            lengths.setdefault(task, []).append(length)
        return list(lengths.items())

    @property
    def name_points(self) -> int | None:
        """The width of the column of names if names are broken; None if they fit."""
        return NAME_POINTS if _names_points(self.archs) > NAME_POINTS else None

    def head_points(self, task: str) -> int:
        """Return the width in which the name of a task is broken."""
        return int(max(HEAD_POINTS, self._columns_points(task) - GAP_POINTS))

    def is_boxed(self, task: str) -> bool:
        """Return whether the name of a task is broken, because it is much wider than its columns."""
        return LETTER_POINTS * len(task) > self.head_points(task)

    def fits(self, name: str) -> bool:
        """Return whether the part still fits the width of a page with a further row of this name."""
        own, wider = (min(_names_points(names), NAME_POINTS) for names in (self.archs, (*self.archs, name)))
        return self.points() - own + wider <= LINE_POINTS

    def points(self) -> float:
        """Return the width of the part."""
        heads = [
            max(self._columns_points(task), min(LETTER_POINTS * len(task), self.head_points(task)) + GAP_POINTS)
            for task, _ in self.tasks
        ]
        return min(_names_points(self.archs), NAME_POINTS) + sum(heads)

    def _columns_points(self, task: str) -> float:
        return sum(self.column_points[setting] for setting in self.settings if setting[0] == task)


Page = list[Block]
"""The parts of one table."""


def pages(
    archs: Sequence[str], settings: Sequence[Setting], letters: Mapping[Setting, int], *, references: int
) -> list[Page]:
    """Divide a table into parts that fit the width of a page, and these into tables that fit its height.

    Args:
        archs: The names of the rows.
        settings: The columns.
        letters: The number of characters in the widest cell of each column; those of its length count too.
        references: The number of further rows of every part.
    """
    points = {
        setting: LETTER_POINTS * max(letters.get(setting, 1), len(f"{setting[1]:,}")) + GAP_POINTS
        for setting in settings
    }
    made: list[Page] = []
    room = 0
    for rows in _rows(archs, MAX_LINES - HEAD_LINES - references):
        lines = HEAD_LINES + references + sum(_lines(arch) for arch in rows)
        for columns in _columns(rows, settings, points):
            if not made or lines > room:
                made.append([])
                room = MAX_LINES
            made[-1].append(Block(archs=rows, settings=columns, column_points=points))
            room -= lines
    return made


def _rows(archs: Sequence[str], lines: int) -> list[tuple[str, ...]]:
    """Divide architectures into runs whose names take at most so many lines."""
    runs: list[tuple[str, ...]] = []
    room = 0
    for arch in archs:
        if not runs or _lines(arch) > room:
            runs.append(())
            room = lines
        runs[-1] += (arch,)
        room -= _lines(arch)
    return runs


def _columns(
    archs: tuple[str, ...], settings: Sequence[Setting], points: Mapping[Setting, float]
) -> list[tuple[Setting, ...]]:
    """Divide columns into runs that fit the width of a page. A task is divided only if it does not fit on its own."""

    def fits(columns: Sequence[Setting]) -> bool:
        return Block(archs=archs, settings=tuple(columns), column_points=points).points() <= LINE_POINTS

    runs: list[tuple[Setting, ...]] = [()]
    for task in dict.fromkeys(task for task, _ in settings):
        own = [setting for setting in settings if setting[0] == task]
        units = [own] if fits(own) else [[setting] for setting in own]
        for unit in units:
            if runs[-1] and not fits([*runs[-1], *unit]):
                runs.append(())
            runs[-1] += tuple(unit)
    return runs


def _names_points(archs: Sequence[str]) -> float:
    return LETTER_POINTS * max(map(len, (*archs, "architecture"))) + GAP_POINTS / 2


def _lines(arch: str) -> int:
    """Return the number of lines that the name of an architecture takes."""
    return -(-int(LETTER_POINTS * len(arch)) // NAME_POINTS) or 1
