"""Groups of cases: a group holds the seeds of one architecture on one task at one length.

Every planned case belongs to exactly one group, even if it has no record. A failed or missing case
counts as a planned seed of its group. It never counts as a score of zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from reports.analysis.labels import Labels, defaults_in_words
from reports.analysis.noise import is_noisy
from results import (
    Case,
    Convergence,
    Interval,
    LengthRange,
    Limits,
    Measurement,
    Probe,
    Record,
    ReferenceScores,
    RunFile,
    Training,
    convergence,
    interval_of_scores,
    median_calibration,
    range_at,
    solved_score,
)

RateSource = Literal["plan", "tuned"]
STEP_QUANTILES = (0.5, 0.9, 0.99, 1.0)
LOSSES = ("mse", "cross_entropy")
"""The metrics that are losses of a trained model."""
MEMORY_SCORE = "memory_score"
"""The metric of tasks that also score apart the positions which need the memory."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A case and its record; the record is None if the case is missing.

    The class has no slots because `cached_property` needs a `__dict__`.
    """

    case: Case
    key: str
    record: Record | None
    probes: tuple[Probe, ...] = ()
    """The probes that the run planned for this case."""
    unusable: str = ""
    """Why the record cannot be used, such as `damaged (…)`; empty if there is no record, or a usable one."""
    calibration_seconds: float | None = None
    """The median calibration time of the run; None if nothing was timed."""

    def score(self, length: int | None = None) -> float | None:
        """Return the score in [0, 1] at the test length `length` in steps (default: the trained length).

        Returns None if the score was not measured, or if the case diverged or is inconsistent.
        """
        return self.scores.get(self.case.length if length is None else length)

    @cached_property
    def scores(self) -> dict[int, float]:
        """Scores in [0, 1] by test length in steps; empty if the case is missing, diverged or inconsistent."""
        return {at["length"]: score for at, score in self._tested("accuracy") if "length" in at}

    @cached_property
    def range_scores(self) -> dict[LengthRange, float]:
        """Mean scores in [0, 1] by range of test lengths; empty if no range was tested, or as for `scores`."""
        ranges = [(range_at(at), score) for at, score in self._tested("accuracy")]
        return {lengths: score for lengths, score in ranges if lengths is not None}

    @cached_property
    def memory_scores(self) -> dict[int, float]:
        """Scores on the positions that need the memory, by test length; empty if the task does not record them."""
        return {at["length"]: score for at, score in self._tested(MEMORY_SCORE) if "length" in at}

    @cached_property
    def range_memory_scores(self) -> dict[LengthRange, float]:
        """Scores as in `memory_scores`, by range of test lengths."""
        ranges = [(range_at(at), score) for at, score in self._tested(MEMORY_SCORE)]
        return {lengths: score for lengths, score in ranges if lengths is not None}

    @cached_property
    def loss(self) -> tuple[str, float] | None:
        """The name and the value of the test loss at the trained length; None if it was not measured."""
        for name in LOSSES:
            for at, value in self._tested(name):
                if at == {"length": self.case.length}:
                    return name, value
        return None

    def _tested(self, metric: str) -> list[tuple[dict[str, int], float]]:
        """Return pairs of a location and a mean; empty if the case is missing, diverged or inconsistent."""
        if self.record is None or self.record.status in ("diverged", "inconsistent"):
            return []
        measured = [measurement for measurement in self.record.of(metric) if measurement.samples]
        return [(each.at, sum(each.samples) / len(each.samples)) for each in measured]

    @cached_property
    def convergence(self) -> Convergence | None:
        """How training ended, from the validation curve; None if the case was not trained or not evaluated."""
        return None if self.record is None else convergence(self.record)

    @cached_property
    def step_quantiles(self) -> dict[int, tuple[float, ...]]:
        """Quantiles in seconds of the steps inside a compiled loop, by position in the stream.

        Each tuple has one quantile per probability in `STEP_QUANTILES`. Empty if only calls from Python were timed.
        """
        return _quantiles_by_position(self._streamed("step_seconds"))

    @cached_property
    def call_quantiles(self) -> dict[int, tuple[float, ...]]:
        """Quantiles in seconds of single calls of `step` from Python, by position, as in `step_quantiles`."""
        return _quantiles_by_position(self._streamed("call_step_seconds"))

    @cached_property
    def steps_per_reading(self) -> int:
        """The largest number of steps inside the compiled loop between two readings of the clock, at any position.

        With more than one step, quantiles are of means over so many steps.
        """
        counts = [max(measurement.samples, default=1) for measurement in self._streamed("steps_per_reading")]
        return int(max(counts, default=1))

    @cached_property
    def step_noise(self) -> dict[int, list[bool]]:
        """Whether each timing of steps inside a compiled loop is noisy, one per process, by position."""
        return self._noise("step_seconds")

    @cached_property
    def call_noise(self) -> dict[int, list[bool]]:
        """Whether each timing of calls of `step` from Python is noisy, as in `step_noise`."""
        return self._noise("call_step_seconds")

    def _noise(self, metric: str) -> dict[int, list[bool]]:
        noisy: defaultdict[int, list[bool]] = defaultdict(list)
        for measurement in [] if self.record is None else self.record.by_process(metric):
            if measurement.at.keys() == {"position"} and measurement.samples:
                noisy[measurement.at["position"]].append(is_noisy(measurement, self.calibration_seconds))
        return dict(noisy)

    @property
    def is_interpreted(self) -> bool:
        """Whether no compiled code ran the steps of the stream; False if the record does not say so."""
        probe = None if self.record is None else self.record.probes.get("streaming")
        return probe is not None and probe.backend == "reference"

    @cached_property
    def state_sizes(self) -> list[tuple[int, tuple[float, ...]]]:
        """Pairs of a position in the stream and the state sizes in bytes that were measured there."""
        measured = [] if self.record is None else self.record.of("state_bytes")
        return [
            (measurement.at["position"], tuple(measurement.samples))
            for measurement in measured
            if "position" in measurement.at
        ]

    @cached_property
    def limit_shares(self) -> list[tuple[int, float]]:
        """Pairs of a position and the share of the roofline limit that the steps at this position reach.

        Only steps inside a compiled loop have a share. A position without a measured limit is left out. All positions
        are left out if the architecture does not state the cost of a step.
        """
        if self.record is None:
            return []
        limits = Limits(self.record)
        shares = [
            (measurement.at["position"], limits.share(measurement)) for measurement in self._streamed("step_seconds")
        ]
        return [(position, share) for position, share in shares if share is not None]

    def _streamed(self, metric: str) -> list[Measurement]:
        measured = [] if self.record is None else self.record.of(metric)
        return [measurement for measurement in measured if measurement.at.keys() == {"position"}]

    def reference(self, length: int | None = None) -> ReferenceScores | None:
        """Return the reference scores at the test length `length` in steps (default: the trained length).

        Returns None if the case has no reference scores at this length.
        """
        return None if self.record is None else self.record.reference_at(self.case.length if length is None else length)

    @property
    def solved(self) -> bool:
        """Whether the score at the trained length reaches `solved_score`. False without a score or reference scores."""
        score, reference = self.score(), self.reference()
        return score is not None and reference is not None and score >= solved_score(reference.chance)

    @property
    def stopped_unsolved(self) -> bool:
        """Whether training stopped early because validation solved the task, but the test score does not solve it.

        Validation has fewer sequences than the test, so it is less certain. False without a test score.
        """
        training = self.record.training if self.record is not None else None
        return training is not None and training.stopped == "solved" and self.score() is not None and not self.solved


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The seeds of one architecture on one task at one trained length."""

    arch: str
    task: str
    length: int
    seeds: tuple[Seed, ...]
    differs: str = ""
    """In what, besides its options, the architecture differs from others of the run, such as `batch=8`."""
    judged: int = 1
    """The number of planned seeds of all groups of the run, over which errors of judgement are corrected."""

    @property
    def records(self) -> list[Record]:
        """The records of the group. Seeds without a record are left out."""
        return [seed.record for seed in self.seeds if seed.record is not None]

    @property
    def trains(self) -> bool:
        """Whether the models were trained. If not, their initial weights were timed, and they have no scores."""
        return any(seed.case.protocol.trains for seed in self.seeds)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The distinct learning rates at which the seeds were trained, ascending; usually one."""
        return tuple(sorted({rate for each in self._trainings if (rate := each.learning_rate) is not None}))

    @property
    def rate_source(self) -> RateSource | None:
        """Whether the plan gave the learning rate, or tuning chose it; None if no seed was trained."""
        return next((each.learning_rate_source for each in self._trainings), None)

    @property
    def rate_found_by(self) -> str | None:
        """The run that found the learning rate, in the words of the plan; None if the plan does not say so."""
        return next((each.learning_rate_found_by for each in self._trainings), None)

    @property
    def _trainings(self) -> list[Training]:
        return [record.training for record in self.records if record.training is not None]

    def scores(self, length: int | None = None) -> list[float]:
        """Return the scores in [0, 1] at the test length `length` in steps (default: the trained length).

        Seeds without a score at this length are left out.
        """
        return [score for seed in self.seeds if (score := seed.score(length)) is not None]

    def interval(self, length: int | None = None) -> Interval:
        """Return the mean score at the test length `length` in steps (default: the trained length) with its interval.

        See `results.interval_of_scores`. A single seed has the interval of its test set only. Raises `ValueError` if no
        seed has a score at this length.
        """
        return interval_of_scores(self.scores(length), self.test_sequences(length))

    def test_sequences(self, length: int | None = None) -> int:
        """Return the number of test sequences of each seed at `length` in steps (default: the trained length)."""
        return min(seed.case.protocol.test_sequences_at(length or self.length) for seed in self.seeds)

    def reference(self, length: int | None = None) -> ReferenceScores | None:
        """Return the reference scores at the test length `length` in steps (default: the trained length).

        Returns None if no seed has reference scores at this length.
        """
        references = (seed.reference(length) for seed in self.seeds)
        return next((reference for reference in references if reference is not None), None)

    def evaluated_lengths(self) -> list[int]:
        """Return the lengths in steps at which the trained models were tested, ascending. Ranges are left out."""
        return sorted({length for seed in self.seeds for length in seed.scores})

    def evaluated_ranges(self) -> list[LengthRange]:
        """Return the ranges of lengths over which the trained models were tested, ascending."""
        return sorted({lengths for seed in self.seeds for lengths in seed.range_scores})


def group_cases(run: RunFile, records: Sequence[Record], unusable: Mapping[str, str] | None = None) -> list[Group]:
    """Return all groups of a run, sorted by task, then by length, then by architecture.

    Tasks and architectures keep the order of the plan. Records of unplanned cases are grouped too.
    Tasks and architectures without a planned case come last. `unusable` says why a record cannot be used, by case key.
    Cases that only serve to choose a learning rate are left out, and so are their records.
    """
    states = unusable or {}
    by_key = {record.key: record for record in records if record.case.is_reported}
    cases = {case.key: case for case in run.reported_cases}
    cases |= {key: record.case for key, record in by_key.items() if key not in cases}
    labels = Labels(cases.values())
    calibration = median_calibration(by_key.values())
    members: defaultdict[tuple[str, str, int], list[Seed]] = defaultdict(list)
    for key, case in cases.items():
        group = (labels.arch(case), labels.task(case), case.length)
        members[group].append(
            Seed(
                case=case,
                key=key,
                record=by_key.get(key),
                probes=run.probes,
                unusable=states.get(key, ""),
                calibration_seconds=calibration,
            )
        )
    tasks = _order(labels.task(case) for case in cases.values())
    archs = _order(labels.arch(case) for case in cases.values())
    return [
        Group(
            arch=arch,
            task=task,
            length=length,
            seeds=tuple(sorted(seeds, key=lambda seed: seed.case.seed)),
            differs=labels.differs(seeds[0].case),
            judged=len(cases),
        )
        for (arch, task, length), seeds in sorted(
            members.items(), key=lambda item: (tasks[item[0][1]], item[0][2], archs[item[0][0]])
        )
    ]


def specifications(groups: Sequence[Group]) -> dict[str, str]:
    """Map each label to its full spec, architectures before tasks: `{"lstm": "lstm:forget_bias=2"}`."""
    archs = {group.arch: group.seeds[0].case.arch for group in groups}
    return archs | {group.task: group.seeds[0].case.task for group in groups}


def full_names(groups: Sequence[Group]) -> dict[str, str]:
    """Map each label to its full spec and what else differs: `{"lstm": "lstm:forget_bias=2 batch=32"}`.

    If other variants set an option that a spec leaves out, its default is named: `lstm (default forget_bias)`.
    """
    differs, specs = {group.arch: group.differs for group in groups}, specifications(groups)
    return {
        label: " ".join(filter(None, [spec, differs.get(label), defaults_in_words(spec, specs.values())]))
        for label, spec in specs.items()
    }


def archs_of(groups: Sequence[Group]) -> list[str]:
    """Return the distinct labels of the architectures, in the order of the groups."""
    return list(dict.fromkeys(group.arch for group in groups))


def _quantiles_by_position(streamed: Sequence[Measurement]) -> dict[int, tuple[float, ...]]:
    measured = [measurement for measurement in streamed if measurement.samples]
    rows = _quantiles([measurement.samples for measurement in measured])
    return {measurement.at["position"]: row for measurement, row in zip(measured, rows, strict=True)}


def _quantiles(rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Return the quantiles of each row at `STEP_QUANTILES`, interpolated linearly between order statistics.

    Rows of equal length are sorted in one call, which is faster than one call per row.
    """
    by_count: defaultdict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_count[len(row)].append(index)
    quantiles: dict[int, tuple[float, ...]] = {}
    for count, indices in by_count.items():
        ordered = np.sort([rows[index] for index in indices], axis=1)
        ranks = np.multiply(STEP_QUANTILES, count - 1)
        below = ranks.astype(int)
        low, high = ordered[:, below], ordered[:, np.minimum(below + 1, count - 1)]
        quantiles |= zip(indices, map(tuple, ((high - low) * (ranks - below) + low).tolist()), strict=True)
    return [quantiles[index] for index in range(len(rows))]


def _order(labels: Iterable[str]) -> dict[str, int]:
    return {label: position for position, label in enumerate(dict.fromkeys(labels))}


def short_names(run: RunFile, records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Map each case key to a pair of labels: the architecture and the task."""
    return {seed.key: (group.arch, group.task) for group in group_cases(run, records) for seed in group.seeds}
