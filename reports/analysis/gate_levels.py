"""Tables of gate levels: mean activations at the first step, at the last step, and at the steps between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.groups import Group
from reports.analysis.traces import layers, metric_trace, settings_of

ROLES = ("hold", "write", "read")
EXPLANATION = (
    "Values are mean activations on held-out sequences, over all units of a layer and over seeds: at the first step, "
    "at the steps between, and at the last step. An LSTM's forget gate holds, its input gate writes and its output "
    "gate reads. A GRU's update gate z holds with z and writes with 1 - z. The decay of a linear recurrence or matrix "
    "memory holds, and its write strength writes. To carry the first element to the end, a write gate should be high "
    "at the first step, a hold gate at the steps between, and a read gate at the last step. "
    "The contrast is the ratio of two of these values: first to between for write, between to first for hold, last to "
    "between for read. It is computed per seed, and 1 means no difference. Layer 1 needs care: it starts from h = 0, "
    "so without biases its gates see only the input at the first step. If the inputs are symmetric about 0, these "
    "gates average 0.5 there whatever the model learned, or 0.73 if 1 is added to the gate's pre-activation. Ratios to "
    "the first step then say little about layer 1."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Gate levels of one role in one layer, averaged over seeds."""

    first: float
    between: float | None
    """The mean over the steps between the first and the last; None if fewer than three steps were measured."""
    last: float
    contrast: float | None
    """The ratio of levels that `EXPLANATION` defines; None if it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRow:
    """The gate levels of one layer of one architecture."""

    layer: int
    """The index of the layer, counted from 0."""
    levels: dict[str, Levels]
    """The levels by role; a role without a gate is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTable:
    """The gate levels of all measured architectures on one task at one length."""

    task: str
    length: int
    archs: tuple[tuple[str, int, tuple[LevelRow, ...]], ...]
    """One tuple per architecture: its label, the number of measured seeds, and one row per layer."""


def gate_levels(groups: Sequence[Group]) -> list[LevelTable]:
    """Return one table per pair of task and length for which gates were measured."""
    tables = []
    for task, length in settings_of(groups):
        rivals = [group for group in groups if (group.task, group.length) == (task, length)]
        measured = [(group.arch, _measured_seeds(group), _rows(group)) for group in rivals]
        if archs := tuple(entry for entry in measured if entry[2]):
            tables.append(LevelTable(task=task, length=length, archs=archs))
    return tables


def _rows(group: Group) -> tuple[LevelRow, ...]:
    measured_layers = sorted({layer for role in ROLES for layer in layers([group], f"{role}_gate")})
    by_layer = [(layer, {role: _levels(group, role, layer) for role in ROLES}) for layer in measured_layers]
    return tuple(
        LevelRow(layer=layer, levels={role: levels for role, levels in by_role.items() if levels is not None})
        for layer, by_role in by_layer
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


def _measured_seeds(group: Group) -> int:
    return sum(any(record.of(f"{role}_gate") for role in ROLES) for record in group.records)
