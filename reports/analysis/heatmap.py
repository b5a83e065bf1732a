"""Length generalisation: for each task, the score of every architecture at every test length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.groups import Group
from reports.analysis.memory_share import memory_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The results of one architecture at one test length, averaged over seeds."""

    score: float
    share: float
    """The memory share, shown as the depth of the colour. An undefined share is stored as 0."""
    trained: bool
    """Whether the test length is the trained length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """The heat map of one task: rows are architectures at a trained length, columns are test lengths."""

    task: str
    lengths: tuple[int, ...]
    """The test lengths, ascending."""
    rows: tuple[tuple[str, int, dict[int, Cell]], ...]
    """One tuple per row: the label, the trained length, and the cells by test length."""


def heat_maps(groups: Sequence[Group]) -> list[HeatMap]:
    """Return one map per task on which a model was tested at more than one length."""
    maps = []
    for task in dict.fromkeys(group.task for group in groups):
        rivals = [group for group in groups if group.task == task]
        rows = [(group.arch, group.length, _cells(group)) for group in rivals]
        if any(len(cells) > 1 for _, _, cells in rows):
            lengths = sorted({length for _, _, cells in rows for length in cells})
            maps.append(HeatMap(task=task, lengths=tuple(lengths), rows=tuple(rows)))
    return maps


def _cells(group: Group) -> dict[int, Cell]:
    cells = {}
    for length in group.evaluated_lengths():
        scores = group.scores(length)
        shares = memory_share(group, length)
        cells[length] = Cell(
            score=fmean(scores), share=fmean(shares) if shares else 0.0, trained=length == group.length
        )
    return cells
