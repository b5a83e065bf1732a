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

from results._metrics import METRICS
from results._noise import disturbed, median_pulse
from results._pairs import Difference, Pair
from results._schema import Measurement, Record

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
SHORTEST_SECONDS = 1e-12
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


class _Side:
    """What one run measured of one pair."""

    def __init__(self, records: dict[int, Record], pulse: float | None) -> None:
        self.values: dict[Place, dict[int, dict[int, float]]] = {}
        """By place, process and seed."""
        self.plans: dict[Place, set[tuple[int, int]]] = {}
        self.blocks: dict[Place, list[int]] = {}
        for seed, record in records.items():
            for measurement in record.measurements:
                if measurement.metric in JUDGED and measurement.samples:
                    self._add(seed, measurement, pulse)
            if record.model is not None:
                self.values.setdefault(("parameters", ()), {}).setdefault(0, {})[seed] = float(record.model.parameters)

    def _add(self, seed: int, measurement: Measurement, pulse: float | None) -> None:
        place = (measurement.metric, tuple(sorted(measurement.at.items())))
        timing = JUDGED[measurement.metric] == "timing"
        if timing:
            value = math.log(max(median(measurement.samples), SHORTEST_SECONDS))
            self.plans.setdefault(place, set()).add((len(measurement.samples), len(measurement.blocks)))
            if pulse is not None:
                counted = self.blocks.setdefault(place, [0, 0])
                counted[0] += sum(disturbed(block, pulse) is not None for block in measurement.blocks)
                counted[1] += len(measurement.blocks)
        else:
            value = fmean(measurement.samples)
        process = measurement.process if timing else 0
        self.values.setdefault(place, {}).setdefault(process, {})[seed] = value

    def units(self, place: Place, seeds: Sequence[int]) -> tuple[float, ...]:
        """One value a seed, or of timings one a process that measured all these seeds; in their order."""
        by_process = self.values[place]
        if JUDGED[place[0]] != "timing":
            return tuple(by_process[0][seed] for seed in seeds if seed in by_process[0])
        return tuple(
            fmean(by_process[process][seed] for seed in seeds)
            for process in sorted(by_process)
            if all(seed in by_process[process] for seed in seeds)
        )

    def noisy(self, place: Place) -> float:
        disturbed_blocks, blocks = self.blocks.get(place, (0, 0))
        return disturbed_blocks / blocks if blocks else 0.0


def units_of(
    pairs: Sequence[Pair], base: Iterable[Record], new: Iterable[Record]
) -> tuple[list[Units], list[Unmeasured], tuple[float | None, float | None]]:
    """All that both sides measured, what only the base did, and the pulse of each run."""
    pulses = (median_pulse(base), median_pulse(new))
    found: list[Units] = []
    lost: list[Unmeasured] = []
    for index, pair in enumerate(pairs):
        before, after = _Side(pair.base, pulses[0]), _Side(pair.new, pulses[1])
        for place in sorted(before.values):
            metric, at = place
            if place not in after.values:
                lost.append(Unmeasured(pair=index, metric=metric, at=at))
                continue
            seeds = [
                seed
                for seed in pair.base
                if all(any(seed in each for each in side.values[place].values()) for side in (before, after))
            ]
            found.append(
                Units(
                    pair=index,
                    metric=metric,
                    at=at,
                    kind=JUDGED[metric],
                    base=before.units(place, seeds),
                    new=after.units(place, seeds),
                    noisy=max(before.noisy(place), after.noisy(place)),
                    differences=tuple(_plan_differences(before.plans.get(place), after.plans.get(place))),
                )
            )
    return found, lost, pulses


def _plan_differences(base: set[tuple[int, int]] | None, new: set[tuple[int, int]] | None) -> Iterable[Difference]:
    if base is None or new is None or base == new:
        return
    for place, name in enumerate(("timing samples", "timing blocks")):
        before, after = ({plan[place] for plan in plans} for plans in (base, new))
        if before != after:
            yield Difference(field=name, base=_numbers(before), new=_numbers(after))


def _numbers(found: set[int]) -> str:
    return " and ".join(str(number) for number in sorted(found))
