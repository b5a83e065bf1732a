"""What a streamed step computes, moves and keeps: FLOPs, bytes moved, bytes of weights and of state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from reports.analysis.groups import Group, archs_of

AT_POSITIONS = ("step_flops", "step_bytes", "state_bytes")
"""The metrics that are measured at positions of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """The work of a step of one architecture over a range of positions. Each number is the median over cases."""

    first: int
    """The first position of the range."""
    last: int
    """The last position of the range."""
    flops: float | None
    """The FLOPs of the matrix products of a step; None if the architecture does not state them."""
    moved_bytes: float | None
    """The bytes that a step reads and writes; None if the architecture does not state them."""
    weight_bytes: float | None
    """The bytes of weights and buffers; None if they were not measured."""
    state_bytes: float | None

    @property
    def positions(self) -> str:
        """The range as text: `16`, `1 to 16,384`."""
        return f"{self.first:,}" if self.first == self.last else f"{self.first:,} to {self.last:,}"

    @property
    def intensity(self) -> float | None:
        """The FLOPs per byte moved; None if either is unknown, or if nothing is moved."""
        return self.flops / self.moved_bytes if self.flops is not None and self.moved_bytes else None


def step_work(groups: Sequence[Group]) -> dict[str, list[StepWork]]:
    """Return the work of a step by architecture, in the order of `groups`.

    An architecture whose numbers are equal at all positions has one row. Any other one has a row for the first and for
    the last range of positions with equal numbers. Architectures without any such number at a position are left out.
    """
    table = {arch: _rows([group for group in groups if group.arch == arch]) for arch in archs_of(groups)}
    return {arch: rows for arch, rows in table.items() if rows}


def _rows(groups: Sequence[Group]) -> list[StepWork]:
    samples: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    weights: list[float] = []
    for record in (record for group in groups for record in group.records):
        weights += [sample for measurement in record.of("weight_bytes") for sample in measurement.samples]
        for metric in AT_POSITIONS:
            for measurement in record.of(metric):
                if measurement.at.keys() == {"position"}:
                    samples[measurement.at["position"]][metric] += measurement.samples
    weight_bytes = median(weights) if weights else None
    numbers = {
        position: tuple(median(values) if (values := by_metric[metric]) else None for metric in AT_POSITIONS)
        for position, by_metric in sorted(samples.items())
    }
    ranges = [(work, list(positions)) for work, positions in groupby(numbers, key=lambda position: numbers[position])]
    shown = ranges if len(ranges) < 2 else [ranges[0], ranges[-1]]
    return [
        StepWork(
            first=positions[0],
            last=positions[-1],
            flops=flops,
            moved_bytes=moved_bytes,
            weight_bytes=weight_bytes,
            state_bytes=state_bytes,
        )
        for (flops, moved_bytes, state_bytes), positions in shown
    ]
