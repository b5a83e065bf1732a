"""One case over all stored runs: what was measured in each, and where it changed for good.

Only runs that may be compared stand in one series: another machine, thread count or torch begins a
series of its own. A change point is looked for in a series' ranks, so that one wild run moves little:

    G(k) = (sum of the first k centred ranks)^2 / (k (n - k))        (1)  what a step after run k explains

The largest G over all k is compared with those of the same values in random order, of which at most
`FALSE_ALARMS` may be as large. What is found splits the series, and both parts are looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from statistics import fmean

import numpy as np
import scipy

from results.schema.case import Case
from results.schema.metrics import METRICS, middle_of
from results.schema.record import Measurement, Record
from results.schema.run import Environment, RunFile
from results.statistics.intervals import Interval, interval_of_mean, interval_of_median

FALSE_ALARMS = 0.01
"""Share of series without a change that may show one."""
SHUFFLES = 1999
MIN_STRETCH = 2
"""Runs on each side of a change: what was seen once is not yet a change."""
COMPARABLE = ("host", "cpu", "cores", "threads", "torch", "device", "instructions")
"""Fields of an environment that must be equal for two runs to be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run measured."""

    run: str
    created: str
    commit: str | None
    value: Interval
    units: int
    """Seeds of a score, fresh processes of a timing: what the interval is over, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One case, metric and place on one kind of machine, oldest run first."""

    arch: str
    task: str
    length: int
    protocol: str
    """Digest of all else that tells the case from others: size, task version, protocol."""
    metric: str
    at: Mapping[str, int]
    environment: str
    seen: tuple[Seen, ...]
    changes: tuple[int, ...]
    """Places in `seen` from which on the value is another."""

    @property
    def label(self) -> str:
        """The case as the user names it."""
        return f"{self.arch}/{self.task}/{self.length}"

    @property
    def place(self) -> str:
        """Where it was measured."""
        return ", ".join(f"{name} {value:,}" for name, value in self.at.items())


def history(
    runs: Iterable[tuple[RunFile, Iterable[Record]]],
    *,
    glob: str = "*",
    metric: str = "accuracy",
    at: Mapping[str, int] | None = None,
) -> list[Series]:
    """The series of all cases that `glob` names; a score at the trained length, all else at the farthest place.

    `glob` is matched with `arch/task/length`, `arch` alone, or a case's key. `at` chooses another place.
    """
    found: dict[tuple[object, ...], list[Seen]] = {}
    kept: dict[tuple[object, ...], tuple[Case, Mapping[str, int], str]] = {}
    for file, records in sorted(runs, key=lambda run: (run[0].created, run[0].id)):
        environment = _environment_of(file.environment)
        groups: dict[tuple[object, ...], list[Measurement]] = {}
        for record in records:
            if not names(glob, record.case):
                continue
            for measurement in _at_one_place(record, metric, at or {}):
                identity: tuple[object, ...] = (
                    _grid_point(record.case),
                    tuple(sorted(measurement.at.items())),
                    environment,
                )
                groups.setdefault(identity, []).append(measurement)
                kept.setdefault(identity, (record.case, measurement.at, environment))
        for identity, measurements in groups.items():
            value, units = _value(metric, measurements)
            seen = Seen(run=file.id, created=file.created, commit=file.commit, value=value, units=units)
            found.setdefault(identity, []).append(seen)
    return [_series(*kept[identity], metric, seen) for identity, seen in found.items()]


def names(glob: str, case: Case) -> bool:
    """Whether a glob means a case."""
    arch = case.arch.partition(":")[0]
    spelled = (f"{case.arch}/{case.task}/{case.length}", f"{arch}/{case.task}/{case.length}", case.arch, arch, case.key)
    return any(fnmatchcase(name, glob) for name in spelled)


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Places from which on the values are others, ascending; (1)."""
    ranks = scipy.stats.rankdata(values)
    return tuple(_changes(ranks, 0))


def _changes(ranks: np.ndarray, offset: int) -> Iterator[int]:
    place, gain = strongest_split(ranks)
    if not place or gain <= _threshold(tuple(sorted(scipy.stats.rankdata(ranks).tolist()))):
        return
    yield from _changes(scipy.stats.rankdata(ranks[:place]), offset)
    yield offset + place
    yield from _changes(scipy.stats.rankdata(ranks[place:]), offset + place)


def strongest_split(values: np.ndarray) -> tuple[int, float]:
    """Where one step explains most of the variance, and how much; 0 where there are too few values. (1)"""
    count = len(values)
    if count < 2 * MIN_STRETCH:
        return 0, 0.0
    gains = _gains(values[None])[0]
    best = int(np.argmax(gains))
    return best + MIN_STRETCH, float(gains[best])


def _gains(values_SN: np.ndarray) -> np.ndarray:
    """(1) for every split of every shuffle; S shuffles, N values."""
    count = values_SN.shape[1]
    k = np.arange(MIN_STRETCH, count - MIN_STRETCH + 1)
    sums = np.cumsum(values_SN - values_SN.mean(axis=1, keepdims=True), axis=1)[:, k - 1]
    return np.asarray(sums**2 / (k * (count - k)))


@lru_cache(maxsize=512)
def _threshold(values: tuple[float, ...]) -> float:
    """The gain that at most `FALSE_ALARMS` of the orders of these values pass."""
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (SHUFFLES, 1)), axis=1)
    largest = np.sort(_gains(shuffled).max(axis=1))
    allowed = math.floor(FALSE_ALARMS * (SHUFFLES + 1)) - 1
    return float(largest[SHUFFLES - 1 - allowed])


def _series(case: Case, at: Mapping[str, int], environment: str, metric: str, seen: list[Seen]) -> Series:
    return Series(
        arch=case.arch,
        task=case.task,
        length=case.length,
        protocol=_grid_point(case),
        metric=metric,
        at=at,
        environment=environment,
        seen=tuple(seen),
        changes=change_points([each.value.middle for each in seen]),
    )


def _grid_point(case: Case) -> str:
    """The case whatever its seed."""
    return case.model_copy(update={"seed": 0}).digest()


def _environment_of(environment: Environment) -> str:
    told = {name: getattr(environment, name) for name in COMPARABLE}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


def _at_one_place(record: Record, metric: str, at: Mapping[str, int]) -> list[Measurement]:
    """What each process measured at the trained length where there is such a place, else at the farthest."""
    found = [each for each in record.by_process(metric) if each.samples and at.items() <= each.at.items()]
    trained = {"length": record.case.length}
    own = [each for each in found if each.at == trained]
    if own and not at:
        return own
    farthest = max((tuple(each.at.values()) for each in found), default=())
    return [each for each in found if tuple(each.at.values()) == farthest]


def _value(metric: str, measurements: Sequence[Measurement]) -> tuple[Interval, int]:
    """Over processes or seeds where there are several; else over the samples; a single score has no interval.

    Seeds that a process timed in turn share its noise: where there are several processes, their mean is one unit.
    """
    middles = [middle_of(metric, each.samples) for each in measurements]
    known = METRICS.get(metric)
    if known is not None and known.kind == "timing":
        if len(middles) == 1:
            return interval_of_median(measurements[0].samples), 1
        by_process: dict[int, list[float]] = {}
        for each, middle in zip(measurements, middles, strict=True):
            by_process.setdefault(each.process, []).append(middle)
        if len(by_process) > 1:
            seeds = max(map(len, by_process.values()))
            middles = [fmean(of) for of in by_process.values() if len(of) == seeds]
    return interval_of_mean(middles), len(middles)
