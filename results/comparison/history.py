"""Follow one metric of a case over all stored runs, and find the runs at which the metric changed permanently.

A series contains comparable runs only. A different machine, number of threads or torch version starts a separate
series. Change points are found by binary segmentation (Vostrikova 1981) with permutation tests. The statistic (1) uses
the centred ranks of the n values in a series, so that one outlier has little influence:

    G(k) = (sum of the first k centred ranks)^2 / (k (n - k))        (1)  variance explained by a step after run k

The k with the largest G is a candidate. Its G is compared with the largest G of random orders of the same values. The
candidate is a change point if at most the share `FALSE_ALARMS` of random orders reach its G. A change point splits the
series, and each part is searched in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from statistics import fmean

import numpy as np

from results.comparison.comparability import Difference, comparable_environment, run_differences
from results.comparison.pairing import condition_differences, conditions_of
from results.schema.base import digest
from results.schema.case import Case
from results.schema.location import location_parts, range_at
from results.schema.metrics import METRICS, central_value
from results.schema.order import by_end
from results.schema.record import Measurement, Record
from results.schema.run import RunFile
from results.specs.spec import Spec
from results.statistics.intervals import Interval, interval_of_mean, interval_of_median
from results.statistics.sampling_error import interval_of_scores

FALSE_ALARMS = 0.01
"""Maximum share of unchanged series for which a change is reported."""
SHUFFLES = 1999
"""Number of random orders that determine the threshold of G."""
MIN_STRETCH = 2
"""Minimum number of runs on each side of a change, so that a single outlier is not a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """The value of one run in a series."""

    run: str
    created: str
    commit: str | None
    value: Interval
    units: int
    """Number of units: the fresh processes of a timing if there are several, and otherwise the measurements. A score
    has one measurement per seed."""
    differences: tuple[Difference, ...] = ()
    """Differences from the previous run of the series, in the environment, the plugins and the allowed fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The history of one case, metric and location on comparable machines, in the order in which the runs ended."""

    arch: str
    task: str
    length: int
    protocol: str
    """Digest of all properties of the case except its seed and the allowed fields."""
    metric: str
    at: Mapping[str, int]
    environment: str
    points: tuple[HistoryPoint, ...]
    changes: tuple[int, ...]
    """Indices in `points` at which the value changed."""

    @property
    def label(self) -> str:
        """The case as `arch/task/length`."""
        return f"{self.arch}/{self.task}/{self.length}"

    @property
    def location(self) -> str:
        """The location of the measurement, such as `position 16`."""
        return ", ".join(f"{name} {value}" for name, value in location_parts(self.at, separator=","))


def history(
    runs: Iterable[tuple[RunFile, Iterable[Record]]],
    *,
    glob: str = "*",
    metric: str = "accuracy",
    at: Mapping[str, int] | None = None,
    allow: frozenset[str] = frozenset(),
) -> list[Series]:
    """Return the series of one metric, for all cases that match `glob`.

    Args:
        runs: Run files with their records, in any order.
        glob: Pattern for `arch/task/length`, for `arch` alone, or for a case's key.
        metric: Name of the metric.
        at: Coordinates of the location. The farthest location with these coordinates is used. By default, the location
            is the trained length or, for metrics without a value there, the farthest location. A range of test lengths
            is used only if `at` has `from` or `to`, or if nothing else was measured.
        allow: Names of fields that may differ within a series, from `ALLOWABLE`.
    """
    previous: dict[tuple[object, ...], tuple[RunFile, Case]] = {}
    points: dict[tuple[object, ...], list[HistoryPoint]] = {}
    series: dict[tuple[object, ...], tuple[Case, Mapping[str, int], str]] = {}
    read = list(runs)
    for file, records in (read[index] for index in by_end([file for file, _ in read])):
        environment = comparable_environment(file.environment, allow)
        groups: dict[tuple[object, ...], list[Measurement]] = {}
        cases: dict[tuple[object, ...], Case] = {}
        for record in records:
            if not matches(glob, record.case):
                continue
            for measurement in _at_location(record, metric, at or {}):
                identity: tuple[object, ...] = (
                    _grid_point(record.case, allow),
                    tuple(sorted(measurement.at.items())),
                    environment,
                )
                groups.setdefault(identity, []).append(measurement)
                series.setdefault(identity, (record.case, measurement.at, environment))
                cases.setdefault(identity, record.case)
        for identity, measurements in groups.items():
            value, units = _value(metric, measurements, cases[identity].test_sequences_at(measurements[0].at))
            differences = _differences(*previous.get(identity, (file, cases[identity])), file, cases[identity])
            previous[identity] = file, cases[identity]
            point = HistoryPoint(
                run=file.id,
                created=file.created,
                commit=file.commit,
                value=value,
                units=units,
                differences=differences,
            )
            points.setdefault(identity, []).append(point)
    return [_series(*series[identity], metric, of_series, allow) for identity, of_series in points.items()]


def matches(glob: str, case: Case) -> bool:
    """Return whether a glob matches a case by its `arch/task/length`, its architecture or its key."""
    arch = Spec.parse_stored(case.arch).name
    names = (f"{case.arch}/{case.task}/{case.length}", f"{arch}/{case.task}/{case.length}", case.arch, arch, case.key)
    return any(fnmatchcase(name, glob) for name in names)


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Return the indices at which the values change permanently, in ascending order, by (1).

    Each index is that of the first value after a change.
    """
    return tuple(_changes(_ranks(values), 0))


def strongest_split(values: np.ndarray) -> tuple[int, float]:
    """Return the number of values before the split with the largest G of (1), and the G of this split.

    The result is (0, 0.0) if there are fewer than `2 * MIN_STRETCH` values.
    """
    count = len(values)
    if count < 2 * MIN_STRETCH:
        return 0, 0.0
    gains = _gains(values[None])[0]
    best = int(np.argmax(gains))
    return best + MIN_STRETCH, float(gains[best])


def _changes(ranks: np.ndarray, offset: int) -> Iterator[int]:
    split, gain = strongest_split(ranks)
    if not split or gain <= _threshold(tuple(sorted(_ranks(ranks).tolist()))):
        return
    yield from _changes(_ranks(ranks[:split]), offset)
    yield offset + split
    yield from _changes(_ranks(ranks[split:]), offset + split)


def _ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _gains(values_SN: np.ndarray) -> np.ndarray:
    """Return G of (1), (shuffles, splits). `values_SN` contains S shuffles of N values."""
    count = values_SN.shape[1]
    k = np.arange(MIN_STRETCH, count - MIN_STRETCH + 1)
    sums = np.cumsum(values_SN - values_SN.mean(axis=1, keepdims=True), axis=1)[:, k - 1]
    return np.asarray(sums**2 / (k * (count - k)))


@lru_cache(maxsize=512)
def _threshold(values: tuple[float, ...]) -> float:
    """Return a threshold that the largest G exceeds in at most the share `FALSE_ALARMS` of random orders of values."""
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (SHUFFLES, 1)), axis=1)
    largest = np.sort(_gains(shuffled).max(axis=1))
    allowed = math.floor(FALSE_ALARMS * (SHUFFLES + 1)) - 1
    return float(largest[SHUFFLES - 1 - allowed])


def _series(
    case: Case, at: Mapping[str, int], environment: str, metric: str, points: list[HistoryPoint], allow: frozenset[str]
) -> Series:
    return Series(
        arch=case.arch,
        task=case.task,
        length=case.length,
        protocol=_grid_point(case, allow),
        metric=metric,
        at=at,
        environment=environment,
        points=tuple(points),
        changes=change_points([point.value.middle for point in points]),
    )


def _differences(base: RunFile, base_case: Case, new: RunFile, new_case: Case) -> tuple[Difference, ...]:
    differences = condition_differences(conditions_of(base_case), conditions_of(new_case))
    return *run_differences(base, new).all, *differences


def _grid_point(case: Case, allow: frozenset[str]) -> str:
    """Return a digest of the case that does not depend on its seed or on allowed fields."""
    document = case.model_copy(update={"seed": 0}).model_dump(mode="json")
    for field in allow:
        name = field.removeprefix("protocol ")
        (document["protocol"] if name != field else document).pop(name.replace(" ", "_"), None)
    return digest(document)


def _at_location(record: Record, metric: str, at: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements of a metric by all processes at one location.

    If `at` is empty and the trained length was measured, the location is the trained length. If not, the location is
    the farthest location that matches `at`. A range is no length, so ranges are not compared with lengths.
    """
    matching = [each for each in record.by_process(metric) if each.samples and at.items() <= each.at.items()]
    measurements = [each for each in matching if range_at(each.at) is None] or matching
    at_trained_length = [each for each in measurements if each.at == {"length": record.case.length}]
    if at_trained_length and not at:
        return at_trained_length
    farthest = max((tuple(each.at.values()) for each in measurements), default=())
    return [each for each in measurements if tuple(each.at.values()) == farthest]


def _value(metric: str, measurements: Sequence[Measurement], test_sequences: int) -> tuple[Interval, int]:
    """Return the value with its interval over processes or seeds, and the number of units.

    A single timing has an interval over its samples. The interval of a score contains that of the test sequences of all
    seeds, and a single score has only the latter. Seeds that one process timed in turn share the noise of that process.
    If there are several processes, each unit is therefore the mean over the seeds of one process. Processes that did
    not time all seeds are left out. Each seed has `test_sequences`.
    """
    values = [central_value(metric, each.samples) for each in measurements]
    known = METRICS.get(metric)
    if known is not None and known.kind == "timing":
        if len(values) == 1:
            return interval_of_median(measurements[0].samples), 1
        by_process: dict[int, list[float]] = {}
        for each, value in zip(measurements, values, strict=True):
            by_process.setdefault(each.process, []).append(value)
        if len(by_process) > 1:
            seeds = max(map(len, by_process.values()))
            values = [fmean(of_process) for of_process in by_process.values() if len(of_process) == seeds]
    if known is not None and known.kind == "score":
        return interval_of_scores(values, test_sequences), len(values)
    return interval_of_mean(values), len(values)
