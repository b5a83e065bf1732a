"""Collect the measurements of the `gates` probe over the seeds of a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

from reports.analysis.groups import Group, Seed

HIGH_FROM = 0.8
"""The lower end of the range that figures of hold gates shade. A claim says that forget gates stay in 0.8–1."""
HOLD_GATES = frozenset({"forget", "decay", "update"})
"""The names of gates whose activation is the share of the memory that is kept."""


class Trace(NamedTuple):
    """The mean, the lowest and the highest value of a metric over seeds, along one coordinate.

    `steps` holds the values of the coordinate, which is not always the step.
    """

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def metric_trace(group: Group, metric: str, coordinate: str, **at: int) -> Trace | None:
    """Return the mean and the range of a metric over seeds along one coordinate.

    Returns None if no seed has the metric at a matching location.

    Args:
        group: The seeds to average.
        metric: The name of the metric, such as `memory_trace`.
        coordinate: The coordinate to follow, such as `step`.
        at: Further coordinates that a measurement must match, such as `layer=0`.
    """
    values: defaultdict[int, list[float]] = defaultdict(list)
    for record in group.records:
        for measurement in record.of(metric):
            if coordinate in measurement.at and measurement.samples and at.items() <= measurement.at.items():
                values[measurement.at[coordinate]].append(fmean(measurement.samples))
    if not values:
        return None
    steps = sorted(values)
    return Trace(
        steps,
        [fmean(values[step]) for step in steps],
        [min(values[step]) for step in steps],
        [max(values[step]) for step in steps],
    )


def units(group: Group, metric: str, layer: int) -> list[float]:
    """Return the values of a metric for all units of one layer and all seeds. Layers are counted from 0."""
    return [
        sample
        for record in group.records
        for measurement in record.of(metric)
        if measurement.at.get("layer") == layer
        for sample in measurement.samples
    ]


def layers(groups: Sequence[Group], metric: str) -> list[int]:
    """Return the indices of the layers for which a metric was measured, ascending and counted from 0."""
    return sorted(
        {
            measurement.at["layer"]
            for group in groups
            for record in group.records
            for measurement in record.of(metric)
            if "layer" in measurement.at
        }
    )


def settings_of(groups: Sequence[Group]) -> list[tuple[str, int]]:
    """Return the distinct pairs of task and trained length, in the order of the groups."""
    return list(dict.fromkeys((group.task, group.length) for group in groups))


def single_seed_group(group: Group, seed: Seed) -> Group:
    """Return a group that holds one seed only, for the figures of a single case."""
    return replace(group, seeds=(seed,))


def slug(text: str) -> str:
    """Return the label `text` in a form for file names and element IDs: `lstm:bias=False` becomes `lstm-bias-False`.

    A label without letters and digits becomes `unnamed`.
    """
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text).split()) or "unnamed"
