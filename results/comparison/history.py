"""Follow one metric of a case over all stored runs, and find the runs at which the metric changed permanently.

A series contains comparable runs only. Another torch version or device starts a separate series. For metrics that
depend on the machine, such as timings, so does another machine or number of threads. `change_points.py` finds the
changes.

The value of a run is what `carousel show` prints. A score is the mean over seeds with its interval, clipped to [0, 1].
A timing is the median over seeds of the median of all samples of a seed. Its interval is that of the median over
processes, of which each contributes the median over its seeds. With fewer than six processes, it is Student's interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median

from results.comparison.comparability import TRAINING, Difference, comparable_environment, run_differences
from results.comparison.pairing import condition_differences, conditions_of, distinguishing_settings, setting_name
from results.comparison.renaming import Renamed, RenameError, rename_run, renames
from results.schema.base import digest
from results.schema.case import Case, Protocol
from results.schema.location import location_parts, range_at
from results.schema.metrics import METRICS, central_value
from results.schema.order import by_end
from results.schema.record import Measurement, Record
from results.schema.run import RunFile
from results.specs.spec import Spec
from results.statistics.change_points import change_points
from results.statistics.intervals import Interval, interval_of_mean, interval_of_median
from results.statistics.sampling_error import interval_of_scores

MIN_UNITS_OF_MEDIAN = 6
"""Minimum number of units whose order statistics bound their median at 95%."""
Runs = Iterable[tuple[RunFile, Iterable[Record]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """The value of one run in a series."""

    run: str
    created: str
    commit: str | None
    is_modified: bool = False
    """Whether the code of the run differs from the commit."""
    host: str | None = None
    """Digest of the machine; None if it is unknown."""
    value: Interval
    units: int
    """Number of units: the fresh processes of a timing if there are several, and otherwise the measurements. A score
    has one measurement per seed."""
    differences: tuple[Difference, ...] = ()
    """Differences from the previous run of the series, in the environment, the plugins and the allowed fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The history of one case, metric and location over comparable runs, in the order in which they ended or were
    committed."""

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
    condition: str = ""
    """Settings that distinguish the case from those of other series with the same architecture, task and length."""

    @property
    def label(self) -> str:
        """The case as `arch/task/length`."""
        return f"{self.arch}/{self.task}/{self.length}"

    @property
    def heading(self) -> str:
        """The case with the settings that distinguish it, such as `lstm/adding/128, steps=600`."""
        return f"{self.label}, {self.condition}" if self.condition else self.label

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines of the runs, in the order of their first run."""
        return tuple(dict.fromkeys(point.host or "unknown" for point in self.points))

    @property
    def location(self) -> str:
        """The location of the measurement, such as `position 16`."""
        return ", ".join(f"{name} {value}" for name, value in location_parts(self.at, separator=","))


def history(
    runs: Runs,
    *,
    glob: str = "*",
    metric: str = "accuracy",
    at: Mapping[str, int] | None = None,
    allow: frozenset[str] = frozenset(),
    renamed: Renamed | None = None,
    commits: Sequence[str] | None = None,
) -> list[Series]:
    """Return the series of one metric, for all cases that match `glob`.

    Args:
        runs: Run files with their records, in any order.
        glob: Pattern for `arch/task/length`, for `arch` alone, or for a case's key. Old and new names match.
        metric: Name of the metric.
        at: Coordinates of the location. The farthest location with these coordinates is used. By default, the location
            is the trained length or, for metrics without a value there, the farthest location. A range of test lengths
            is used only if `at` has `from` or `to`, or if nothing else was measured.
        allow: Names of fields that may differ within a series, from `ALLOWABLE`.
        renamed: New names of architectures and tasks by old names, in addition to those of the plans of the runs.
        commits: The commits of the runs that measured the metric, oldest first, to order runs by commit; None to order
            them by their ends. Runs of one commit are ordered by their ends. A run of another commit follows the run
            that ended before it.

    Raises `RenameError` if names cannot be joined.
    """
    previous: dict[tuple[object, ...], tuple[RunFile, Case]] = {}
    points: dict[tuple[object, ...], list[HistoryPoint]] = {}
    series: dict[tuple[object, ...], tuple[Case, str, Mapping[str, int], str]] = {}
    read = _in_order(runs, commits)
    names = renames([file for file, _ in read], renamed)
    matching = [(file, _matching(glob, records, _new_names(file, records, names, read))) for file, records in read]
    grid_points = _grid_points([records for _, records in matching], allow)
    for file, records in matching:
        environment = comparable_environment(file.environment, metric, allow)
        groups: dict[tuple[object, ...], list[tuple[int, Measurement]]] = {}
        cases: dict[tuple[object, ...], Case] = {}
        for record in records:
            case = record.case
            for measurement in _at_location(record, metric, at or {}):
                identity: tuple[object, ...] = (
                    grid_points[record.key],
                    tuple(sorted(measurement.at.items())),
                    environment,
                )
                groups.setdefault(identity, []).append((case.seed, measurement))
                series.setdefault(identity, (case, grid_points[record.key], measurement.at, environment))
                cases.setdefault(identity, case)
        for identity, measurements in groups.items():
            test_sequences = cases[identity].test_sequences_at(measurements[0][1].at)
            value, units = _value(metric, measurements, test_sequences)
            differences = _differences(*previous.get(identity, (file, cases[identity])), file, cases[identity])
            previous[identity] = file, cases[identity]
            point = HistoryPoint(
                run=file.id,
                created=file.created,
                commit=file.commit,
                is_modified=bool(file.modified),
                host=file.environment.host,
                value=value,
                units=units,
                differences=differences,
            )
            points.setdefault(identity, []).append(point)
    settings = distinguishing_settings([series[identity][0] for identity in points], allow)
    return [
        _series(*series[identity], metric, of_series, condition)
        for (identity, of_series), condition in zip(points.items(), settings, strict=True)
    ]


def locations(
    runs: Runs, *, glob: str = "*", metric: str | None = None, renamed: Renamed | None = None
) -> dict[str, list[dict[str, int]]]:
    """Return the locations of measurements of all cases that match `glob`, sorted, by metric.

    `metric` restricts the result to one metric, and `renamed` is that of `history`.
    """
    found: dict[str, dict[tuple[tuple[str, int], ...], None]] = {}
    read = _in_order(runs, None)
    names = renames([file for file, _ in read], renamed)
    for file, records in read:
        for record in _matching(glob, records, _new_names(file, records, names, read)):
            for each in record.measurements:
                if each.samples and metric in (None, each.metric):
                    found.setdefault(each.metric, {})[tuple(sorted(each.at.items()))] = None
    return {name: [dict(at) for at in sorted(of_metric)] for name, of_metric in sorted(found.items())}


def _in_order(runs: Runs, commits: Sequence[str] | None) -> list[tuple[RunFile, list[Record]]]:
    read = [(file, list(records)) for file, records in runs]
    ordered = [read[index] for index in by_end([file for file, _ in read])]
    if commits is None:
        return ordered
    position = {commit: index for index, commit in enumerate(commits)}
    positions, latest = [], -1
    for file, _ in ordered:
        latest = position.get(file.commit or "", latest)
        positions.append(latest)
    return [run for _, run in sorted(zip(positions, ordered, strict=True), key=lambda placed: placed[0])]


def _new_names(file: RunFile, records: Sequence[Record], names: Renamed, runs: Runs) -> list[Record]:
    """Return the records of a run under their new names.

    Raises `RenameError` if two cases would become one. If a run of `runs` gives the names, the error says which.
    """
    try:
        return rename_run(file, records, names)[1]
    except RenameError as error:
        for source, _ in runs:
            try:
                rename_run(file, records, source.renamed)
            except RenameError:
                which = "it" if source.id == file.id else "one of the two runs"
                reason = str(error).partition(";")[0]
                raise RenameError(
                    f"{reason} by the names in the plan of the run {source.id}; move {which} out of the store"
                ) from None
        raise


def _matching(glob: str, records: Sequence[Record], moved: Sequence[Record]) -> list[Record]:
    """Return the records whose old or new name matches, under their new names, which those of `moved` are."""
    return [
        new
        for old, new in zip(records, moved, strict=True)
        if new.case.is_reported and (matches(glob, new.case) or matches(glob, old.case))
    ]


def matches(glob: str, case: Case) -> bool:
    """Return whether a glob matches a case by its `arch/task/length`, its architecture or its key."""
    arch = Spec.parse_stored(case.arch).name
    names = (f"{case.arch}/{case.task}/{case.length}", f"{arch}/{case.task}/{case.length}", case.arch, arch, case.key)
    return any(fnmatchcase(name, glob) for name in names)


def _series(
    case: Case,
    grid_point: str,
    at: Mapping[str, int],
    environment: str,
    metric: str,
    points: list[HistoryPoint],
    condition: str,
) -> Series:
    return Series(
        arch=case.arch,
        task=case.task,
        length=case.length,
        protocol=grid_point,
        metric=metric,
        at=at,
        environment=environment,
        points=tuple(points),
        changes=change_points([point.value.middle for point in points]),
        condition=condition,
    )


def _differences(base: RunFile, base_case: Case, new: RunFile, new_case: Case) -> tuple[Difference, ...]:
    differences = condition_differences(conditions_of(base_case), conditions_of(new_case))
    return *run_differences(base, new).all, *differences


def _grid_points(runs: Sequence[Sequence[Record]], allow: frozenset[str]) -> dict[str, str]:
    """Return the grid point of each record of some runs by its key, as `_grid_point` does.

    If `training` may differ, an untrained case has the grid point of the trained ones that differ from it in their
    training only, unless these have several, or a run has both. Comparisons of two runs pair cases in the same way.
    """
    cases = {record.key: record.case for records in runs for record in records}
    points = {key: _grid_point(case, allow) for key, case in cases.items()}
    if TRAINING not in allow:
        return points
    besides_training = {key: _grid_point(_without_training(case), allow) for key, case in cases.items()}
    trained: dict[str, set[str]] = {}
    in_both: set[str] = set()
    for records in runs:
        of_run: dict[bool, set[str]] = {True: set(), False: set()}
        for record in records:
            of_run[record.case.protocol.trains].add(besides_training[record.key])
            if record.case.protocol.trains:
                trained.setdefault(besides_training[record.key], set()).add(points[record.key])
        in_both |= of_run[True] & of_run[False]
    for key, case in cases.items():
        rivals = trained.get(besides_training[key], set())
        if not case.protocol.trains and len(rivals) == 1 and besides_training[key] not in in_both:
            (points[key],) = rivals
    return points


def _without_training(case: Case) -> Case:
    return case.model_copy(update={"protocol": Protocol(), "tuning": None})


def _grid_point(case: Case, allow: frozenset[str]) -> str:
    """Return a digest of the case that does not depend on its seed or on allowed fields."""
    document = case.model_copy(update={"seed": 0}).model_dump(mode="json")
    for field in allow:
        (document["protocol"] if field.startswith("protocol ") else document).pop(setting_name(field), None)
    return digest(document)


def _at_location(record: Record, metric: str, at: Mapping[str, int]) -> list[Measurement]:
    """Return the measurements of a metric by all processes at one location.

    If `at` is empty and the trained length was measured, the location is the trained length. If not, the location is
    the farthest location that matches `at`. A range is no length, so ranges are not compared with lengths. A case that
    diverged or is inconsistent has no score and no loss.
    """
    if record.status in ("diverged", "inconsistent") and _kind(metric) in ("score", "loss"):
        return []
    matching = [each for each in record.by_process(metric) if each.samples and at.items() <= each.at.items()]
    measurements = [each for each in matching if range_at(each.at) is None] or matching
    at_trained_length = [each for each in measurements if each.at == {"length": record.case.length}]
    if at_trained_length and not at:
        return at_trained_length
    farthest = max((tuple(each.at.values()) for each in measurements), default=())
    return [each for each in measurements if tuple(each.at.values()) == farthest]


def _value(metric: str, measurements: Sequence[tuple[int, Measurement]], test_sequences: int) -> tuple[Interval, int]:
    """Return the value with its interval over processes or seeds, and the number of units.

    Args:
        metric: Name of the metric.
        measurements: Pairs of a seed and a measurement.
        test_sequences: Number of test sequences of each seed.
    """
    if _kind(metric) == "timing":
        return _timing(measurements)
    values = [central_value(metric, each.samples) for _, each in measurements]
    if _kind(metric) == "score":
        interval = interval_of_scores(values, test_sequences)
        return Interval(max(0.0, interval.low), interval.middle, min(1.0, interval.high)), len(values)
    return interval_of_mean(values), len(values)


def _timing(measurements: Sequence[tuple[int, Measurement]]) -> tuple[Interval, int]:
    """Return a timing with its interval, and the number of units.

    A single measurement has an interval over its samples. If there are several processes, they are the units. Seeds
    that one process timed in turn share its noise, so a process has one value: the median over its seeds. Processes
    that did not time all seeds are no units. With one process, the seeds are the units.
    """
    by_seed: dict[int, list[float]] = {}
    by_process: dict[int, list[float]] = {}
    for seed, each in measurements:
        by_seed.setdefault(seed, []).extend(each.samples)
        by_process.setdefault(each.process, []).append(median(each.samples))
    value = median(median(samples) for samples in by_seed.values())
    if len(measurements) == 1:
        return interval_of_median(measurements[0][1].samples), 1
    units = [median(samples) for samples in by_seed.values()]
    if len(by_process) > 1:
        units = [median(of_process) for of_process in by_process.values() if len(of_process) == len(by_seed)]
    if not units:
        return Interval(-math.inf, value, math.inf), 0
    over_units = interval_of_median(units) if len(units) >= MIN_UNITS_OF_MEDIAN else interval_of_mean(units)
    return Interval(min(over_units.low, value), value, max(over_units.high, value)), len(units)


def _kind(metric: str) -> str | None:
    known = METRICS.get(metric)
    return None if known is None else known.kind
