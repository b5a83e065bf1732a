"""Deadlines: the share of streamed steps that take longer than a deadline, and the longest step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.groups import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineRow:
    """How often the steps of one architecture at one position miss a deadline."""

    arch: str
    position: int
    deadline_seconds: float
    cases: int
    steps: int | None
    """The number of steps of all cases together; None if it is unknown."""
    late_share: float
    """The share of steps that took longer than the deadline, as the mean over cases."""
    worst_seconds: float | None
    """The longest step of all cases; None if it was not measured."""


def deadline_rows(groups: Sequence[Group]) -> list[DeadlineRow]:
    """Return one row per deadline, position and architecture, sorted in this order.

    Architectures are in the order of `groups`. The list is empty if the run had no deadline.
    """
    late, worst, steps = (_samples(groups, metric) for metric in ("late_share", "worst_step_seconds", "deadline_steps"))
    return [
        DeadlineRow(
            arch=arch,
            position=position,
            deadline_seconds=deadline_ns / 1e9,
            cases=len(shares),
            steps=round(sum(steps[location])) if steps[location] else None,
            late_share=fmean(shares),
            worst_seconds=max(worst[location], default=None),
        )
        for location, shares in sorted(late.items(), key=lambda item: item[0][:2])
        for deadline_ns, position, arch in [location]
    ]


def _samples(groups: Sequence[Group], metric: str) -> defaultdict[tuple[int, int, str], list[float]]:
    """Return the samples of a metric by deadline in ns, position and architecture."""
    samples: defaultdict[tuple[int, int, str], list[float]] = defaultdict(list)
    for group in groups:
        for record in group.records:
            for measurement in record.of(metric):
                if {"position", "deadline_ns"} <= measurement.at.keys():
                    key = measurement.at["deadline_ns"], measurement.at["position"], group.arch
                    samples[key] += measurement.samples
    return samples
