"""How high the gates stand at the first step, between, and at the last, in numbers: a table for each task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.groups import Group
from reports.analysis.traces import layers, metric_trace, places

ROLES = ("hold", "write", "read")
EXPLANATION = (
    "Mean activation of all units of a layer on held-out sequences, mean over seeds: at the first step, over the "
    "steps between, and at the last. An LSTM's forget, input and output gates hold, write and read; a GRU's update "
    "gate holds what it keeps and writes the rest. The contrast is how many times higher a gate stands where it "
    "should be high, if the first element is carried to the end, than where it should be low: hold between against "
    "first, write first against between, read last against between. It is taken seed by seed; 1 is no difference. "
    "Without biases, a first layer that starts from h = 0 reads only its input at the first step, and where that lies "
    "evenly about 0 its gates average 0.5 there whatever was learned (0.73 where 1 is added to a gate's argument): a "
    "ratio to the first step then says little of layer 1."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Of the gates of one role in one layer: means over the seeds; None where there is nothing between."""

    first: float
    between: float | None
    last: float
    contrast: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """One layer of one architecture; a role that it has no gate for is not among the levels."""

    layer: int
    """Counted from 0."""
    levels: dict[str, Levels]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTable:
    """One task at one length."""

    task: str
    length: int
    archs: tuple[tuple[str, int, tuple[LevelRow, ...]], ...]
    """Label, seeds that were measured, rows by layer."""


def gate_levels(found: Sequence[Group]) -> list[LevelTable]:
    """A table for each task and length at which the gates of a model were measured."""
    tables = []
    for task, length in places(found):
        here = [group for group in found if (group.task, group.length) == (task, length)]
        measured = [(group.arch, _seeds(group), _rows(group)) for group in here]
        if archs := tuple(row for row in measured if row[2]):
            tables.append(LevelTable(task=task, length=length, archs=archs))
    return tables


def _rows(group: Group) -> tuple[LevelRow, ...]:
    there = sorted({layer for role in ROLES for layer in layers([group], f"{role}_gate")})
    every = [(layer, {role: _levels(group, role, layer) for role in ROLES}) for layer in there]
    return tuple(
        LevelRow(layer=layer, levels={role: levels for role, levels in kept.items() if levels is not None})
        for layer, kept in every
    )


def _levels(group: Group, role: str, layer: int) -> Levels | None:
    trace = metric_trace(group, f"{role}_gate", "step", layer=layer)
    if trace is None:
        return None
    contrast = metric_trace(group, f"{role}_contrast", "layer", layer=layer)
    return Levels(
        first=trace.mean[0],
        between=fmean(trace.mean[1:-1]) if len(trace.mean) > 2 else None,
        last=trace.mean[-1],
        contrast=None if contrast is None else contrast.mean[0],
    )


def _seeds(group: Group) -> int:
    return sum(any(record.of(f"{role}_gate") for role in ROLES) for record in group.records)
