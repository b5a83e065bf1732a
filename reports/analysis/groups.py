"""Which records belong together: the seeds of one architecture on one task at one length.

Every planned case belongs to exactly one group, with its record or without: a case that failed or
is missing counts in the group's denominators and never as a score of zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reports.analysis.labels import Labels
from results import Case, Limits, Measurement, Probe, Record, ReferenceScores, RunFile

STEP_QUANTILES = (0.5, 0.9, 0.99, 1.0)
SOLVED_SHARE = 0.99
"""A task counts as solved at this share of the span from chance to a perfect score."""


@dataclass(frozen=True, kw_only=True)
class Seed:
    """One planned case and what came of it; no record where it is missing.

    Without slots, because what every table and figure asks of a record is worked out once and kept.
    """

    case: Case
    key: str
    record: Record | None
    probes: tuple[Probe, ...] = ()
    """What the run was to measure of it."""

    def score(self, length: int | None = None) -> float | None:
        """The score at `length` (the trained one by default), where it was measured."""
        return self.scores.get(self.case.length if length is None else length)

    @cached_property
    def scores(self) -> dict[int, float]:
        """The score by length; none of a case that diverged."""
        if self.record is None or self.record.status == "diverged":
            return {}
        return {
            measurement.at["length"]: sum(measurement.samples) / len(measurement.samples)
            for measurement in self.record.of("accuracy")
            if "length" in measurement.at and measurement.samples
        }

    @cached_property
    def step_quantiles(self) -> dict[int, tuple[float, ...]]:
        """Seconds of a streamed step by position, at `STEP_QUANTILES`, interpolated between order statistics."""
        kept = [one for one in self._streamed if one.samples]
        rows = _quantiles([one.samples for one in kept])
        return {one.at["position"]: row for one, row in zip(kept, rows, strict=True)}

    @cached_property
    def state_sizes(self) -> list[tuple[int, tuple[float, ...]]]:
        """Bytes of state by position."""
        measured = [] if self.record is None else self.record.of("state_bytes")
        return [(one.at["position"], tuple(one.samples)) for one in measured if "position" in one.at]

    @cached_property
    def limit_shares(self) -> list[tuple[int, float]]:
        """Of what the machine can do, what streamed steps achieved, by position, where the run says."""
        if self.record is None:
            return []
        limits = Limits(self.record)
        found = [(one.at["position"], limits.share(one)) for one in self._streamed]
        return [(position, share) for position, share in found if share is not None]

    @cached_property
    def _streamed(self) -> list[Measurement]:
        measured = [] if self.record is None else self.record.of("step_seconds")
        return [one for one in measured if "position" in one.at]

    def reference(self, length: int | None = None) -> ReferenceScores | None:
        """What the score at `length` must be compared with."""
        return None if self.record is None else self.record.reference_at(self.case.length if length is None else length)

    @property
    def solved(self) -> bool:
        score, line = self.score(), self.reference()
        return score is not None and line is not None and score >= solved_from(line.chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The seeds of one architecture on one task at one trained length."""

    arch: str
    task: str
    length: int
    seeds: tuple[Seed, ...]

    @property
    def records(self) -> list[Record]:
        return [seed.record for seed in self.seeds if seed.record is not None]

    def scores(self, length: int | None = None) -> list[float]:
        """The scores of the seeds that have one, in the order of the seeds."""
        return [score for seed in self.seeds if (score := seed.score(length)) is not None]

    def reference(self, length: int | None = None) -> ReferenceScores | None:
        """What a score at `length` must be compared with."""
        return next((line for seed in self.seeds if (line := seed.reference(length)) is not None), None)

    def evaluated_lengths(self) -> list[int]:
        """The lengths at which the trained models were tested."""
        return sorted({length for seed in self.seeds for length in seed.scores})


def solved_from(chance: float) -> float:
    """The least score that solves a task."""
    return chance + SOLVED_SHARE * (1 - chance)


def group_cases(run: RunFile, records: Sequence[Record]) -> list[Group]:
    """All groups: tasks and architectures in the order of the plan, lengths ascending.

    A record that the plan does not name is grouped too, after the planned ones.
    """
    by_key = {record.key: record for record in records}
    cases = {case.key: case for case in run.cases}
    cases |= {key: record.case for key, record in by_key.items() if key not in cases}
    name = Labels(cases.values())
    gathered: defaultdict[tuple[str, str, int], list[Seed]] = defaultdict(list)
    for key, case in cases.items():
        place = (name.arch(case), name.task(case), case.length)
        gathered[place].append(Seed(case=case, key=key, record=by_key.get(key), probes=run.probes))
    tasks = _order(name.task(case) for case in cases.values())
    archs = _order(name.arch(case) for case in cases.values())
    return [
        Group(arch=arch, task=task, length=length, seeds=tuple(sorted(seeds, key=lambda seed: seed.case.seed)))
        for (arch, task, length), seeds in sorted(
            gathered.items(), key=lambda item: (tasks[item[0][1]], item[0][2], archs[item[0][0]])
        )
    ]


def specifications(found: Sequence[Group]) -> dict[str, str]:
    """What each label stands for, architectures before tasks: `{"lstm": "lstm:forget_bias=2"}`."""
    archs = {group.arch: group.seeds[0].case.arch for group in found}
    return archs | {group.task: group.seeds[0].case.task for group in found}


def archs_of(found: Sequence[Group]) -> list[str]:
    """The architectures' labels, in the order of the plan."""
    order: dict[str, None] = {}
    for group in found:
        order.setdefault(group.arch)
    return list(order)


def _quantiles(rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Of each row, those of all rows of one length at once."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[len(row)].append(place)
    found: dict[int, tuple[float, ...]] = {}
    for count, same in places.items():
        ordered = np.sort([rows[place] for place in same], axis=1)
        ranks = np.multiply(STEP_QUANTILES, count - 1)
        below = ranks.astype(int)
        low, high = ordered[:, below], ordered[:, np.minimum(below + 1, count - 1)]
        found |= zip(same, map(tuple, ((high - low) * (ranks - below) + low).tolist()), strict=True)
    return [found[place] for place in range(len(rows))]


def _order(labels: Iterable[str]) -> dict[str, int]:
    return {label: place for place, label in enumerate(dict.fromkeys(labels))}


def short_names(run: RunFile, records: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """What a page calls the architecture and the task of each case, by key."""
    return {seed.key: (group.arch, group.task) for group in group_cases(run, records) for seed in group.seeds}
