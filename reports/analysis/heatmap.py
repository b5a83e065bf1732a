"""Length generalisation in numbers: for each task, what every architecture scores at every length it was tested at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.groups import Group
from reports.analysis.memory_share import memory_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The mean score over seeds at one length, and how deep its colour is: the mean remembered share."""

    score: float
    share: float
    trained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """One task: rows by architecture and trained length, columns by tested length."""

    task: str
    lengths: tuple[int, ...]
    rows: tuple[tuple[str, int, dict[int, Cell]], ...]


def heat_maps(found: Sequence[Group]) -> list[HeatMap]:
    """A map for each task of which a model was tested at more than one length."""
    maps = []
    for task in dict.fromkeys(group.task for group in found):
        rivals = [group for group in found if group.task == task]
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
