"""What two runs measured of each metric, by independent unit: a seed for a score, a fresh process for a timing.

The value of a process is the mean over seeds of the logarithm of each seed's median sample: blocks within
a process are not independent, and seeds that a process timed in turn are not either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from results.comparison.pairing import Difference, Pair
from results.schema.metrics import METRICS
from results.schema.record import Record
from results.statistics.noise import disturbed, median_calibration

Kind = Literal["score", "timing", "size"]
At = tuple[tuple[str, int], ...]
Place = tuple[str, At]
JUDGED: dict[str, Kind] = {
    "accuracy": "score",
    "early_stopped_accuracy": "score",
    "forward_seconds": "timing",
    "train_step_seconds": "timing",
    "step_seconds": "timing",
    "state_bytes": "size",
    "parameters": "size",
}
"""The metrics that are compared. The first call of a model is left out: one sample a process, and mostly compiling."""
MIN_SECONDS = 1e-12
"""Less than a clock can tell: a time of 0 has a logarithm all the same."""
HIGHER_IS_BETTER = {name for name in JUDGED if name in METRICS and METRICS[name].better == "higher"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """One metric of one pair at one place, with one value a unit: logarithms of seconds for timings."""

    pair: int
    metric: str
    at: At
    kind: Kind
    base: tuple[float, ...]
    new: tuple[float, ...]
    noisy: float
    """Share of disturbed blocks, of the side that has more."""
    differences: tuple[Difference, ...] = ()
    """In how it was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """What the base measured of a pair and the new run did not."""

    pair: int
    metric: str
    at: At


class _Measured:
    """What one run measured of one pair at one place."""

    __slots__ = ("blocks", "disturbed", "plans", "values")

    def __init__(self) -> None:
        self.values: dict[int, dict[int, float]] = {}
        """By process and seed."""
        self.plans: set[tuple[int, int]] = set()
        self.disturbed = self.blocks = 0

    def add(self, process: int, seed: int, value: float) -> None:
        by_seed = self.values.get(process)
        if by_seed is None:
            self.values[process] = {seed: value}
        else:
            by_seed[seed] = value

    def seeds(self) -> set[int]:
        return set().union(*self.values.values())

    def units(self, kind: Kind, seeds: Sequence[int]) -> tuple[float, ...]:
        """One value a seed, or of timings one a process that measured all these seeds; in their order."""
        if kind != "timing":
            return tuple(self.values[0][seed] for seed in seeds if seed in self.values[0])
        wanted = set(seeds)
        return tuple(
            fmean([by_seed[seed] for seed in seeds])
            for _, by_seed in sorted(self.values.items())
            if wanted <= by_seed.keys()
        )

    @property
    def noisy(self) -> float:
        return self.disturbed / self.blocks if self.blocks else 0.0


def _measured(records: dict[int, Record], pulse: float | None) -> dict[Place, _Measured]:
    """By place. A large run passes here by the hundred thousand measurements: nothing is looked up twice."""
    found: dict[Place, _Measured] = {}
    for seed, record in records.items():
        for measurement in record.measurements:
            kind, samples, at = JUDGED.get(measurement.metric), measurement.samples, measurement.at
            if kind is None or not samples:
                continue
            place = (measurement.metric, tuple(at.items()) if len(at) < 2 else tuple(sorted(at.items())))
            one = found.get(place)
            if one is None:
                one = found[place] = _Measured()
            if kind != "timing":
                one.add(0, seed, fmean(samples))
                continue
            blocks = measurement.blocks
            one.add(measurement.process, seed, math.log(max(median(samples), MIN_SECONDS)))
            one.plans.add((len(samples), len(blocks)))
            if pulse is not None:
                one.blocks += len(blocks)
                for block in blocks:
                    one.disturbed += disturbed(block, pulse) is not None
        if record.model is not None:
            found.setdefault(("parameters", ()), _Measured()).add(0, seed, float(record.model.parameters))
    return found


def units_of(
    pairs: Sequence[Pair], base: Iterable[Record], new: Iterable[Record]
) -> tuple[list[Units], list[Unmeasured], tuple[float | None, float | None]]:
    """All that both sides measured, what only the base did, and the pulse of each run."""
    pulses = (median_calibration(base), median_calibration(new))
    found: list[Units] = []
    lost: list[Unmeasured] = []
    for index, pair in enumerate(pairs):
        before, after = _measured(pair.base, pulses[0]), _measured(pair.new, pulses[1])
        for place in sorted(before):
            metric, at = place
            kind, one, other = JUDGED[metric], before[place], after.get(place)
            if other is None:
                lost.append(Unmeasured(pair=index, metric=metric, at=at))
                continue
            shared = one.seeds() & other.seeds()
            seeds = [seed for seed in pair.base if seed in shared]
            found.append(
                Units(
                    pair=index,
                    metric=metric,
                    at=at,
                    kind=kind,
                    base=one.units(kind, seeds),
                    new=other.units(kind, seeds),
                    noisy=max(one.noisy, other.noisy),
                    differences=tuple(_plan_differences(one.plans, other.plans)),
                )
            )
    return found, lost, pulses


def _plan_differences(base: set[tuple[int, int]], new: set[tuple[int, int]]) -> Iterable[Difference]:
    if base == new:
        return
    for place, name in enumerate(("timing samples", "timing blocks")):
        before, after = ({plan[place] for plan in plans} for plans in (base, new))
        if before != after:
            yield Difference(field=name, base=_numbers(before), new=_numbers(after))


def _numbers(found: set[int]) -> str:
    return " and ".join(str(number) for number in sorted(found))
