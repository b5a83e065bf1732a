"""What the `gates` probe measured, gathered over the seeds of a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from reports.analysis.groups import Group, Seed


class Trace(NamedTuple):
    """Means over seeds, with the lowest and highest seed, by step."""

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def metric_trace(group: Group, metric: str, place: str, **at: int) -> Trace | None:
    """A metric against one of the numbers that say where it was measured; None where it was not."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for record in group.records:
        for measurement in record.of(metric):
            if place in measurement.at and measurement.samples and at.items() <= measurement.at.items():
                found[measurement.at[place]].append(fmean(measurement.samples))
    if not found:
        return None
    steps = sorted(found)
    return Trace(
        steps,
        [fmean(found[step]) for step in steps],
        [min(found[step]) for step in steps],
        [max(found[step]) for step in steps],
    )


def units(group: Group, metric: str, layer: int) -> list[float]:
    """A metric of all units of a layer, of all seeds together."""
    return [
        sample
        for record in group.records
        for measurement in record.of(metric)
        if measurement.at.get("layer") == layer
        for sample in measurement.samples
    ]


def layers(found: Sequence[Group], metric: str) -> list[int]:
    """The layers in which a metric was measured."""
    return sorted(
        {
            one.at["layer"]
            for group in found
            for record in group.records
            for one in record.of(metric)
            if "layer" in one.at
        }
    )


def places(found: Sequence[Group]) -> list[tuple[str, int]]:
    """Tasks and lengths, in the order of the groups."""
    return list(dict.fromkeys((group.task, group.length) for group in found))


def one_case(group: Group, seed: Seed) -> Group:
    """A group of one seed alone, for the figures of a single case."""
    return Group(arch=group.arch, task=group.task, length=group.length, seeds=(seed,))


def slug(text: str) -> str:
    """A task or architecture as part of a figure's name, which is also a file's and an element's."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text).split()) or "unnamed"
