"""How a run went: which cases are fine, which failed and why, which are missing, which are noisy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, Seed
from reports.format.numbers import listed, plural
from results import Record, disturbances, median_calibration

NOT_RUN = " not run"
"""Ends what is said of a probe that was planned for a case without fault, and has no entry in its record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Seeds of one group that did not yield all that was planned, for one reason."""

    arch: str
    task: str
    length: int
    seeds: tuple[int, ...]
    what: str
    reason: str

    @property
    def brief(self) -> str:
        """`seed 2 diverged: the loss was not finite at step 40`."""
        seeds = listed([str(seed) for seed in self.seeds])
        return f"seed{'s'[: len(self.seeds) - 1]} {seeds} {self.what}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Counts over the cases of a run: `cases = ok + failed + incomplete + missing`; a noisy case is one of these."""

    cases: int
    ok: int
    failed: int
    incomplete: int
    """Cases without fault that not every planned probe has measured."""
    missing: int
    noisy: int
    finished: bool
    problems: tuple[Problem, ...]

    @property
    def verdict(self) -> str:
        """One line for people."""
        if not self.cases:
            return "No cases: nothing was planned and nothing was measured."
        kinds: Counter[str] = Counter()
        for problem in self.problems:
            if problem.what != "missing" and not problem.what.endswith(NOT_RUN):
                kinds[problem.what] += len(problem.seeds)
        named = f" ({listed([f'{number} {kind}' for kind, number in kinds.items()])})" if kinds else ""
        if self.ok == self.cases:
            line = f"All {plural(self.cases, 'case')} ok, none failed, none missing" if self.cases > 1 else "1 case, ok"
        else:
            incomplete = f", {self.incomplete} without all measurements" if self.incomplete else ""
            line = f"{plural(self.cases, 'case')}: {self.ok} ok, {self.failed} failed{named}{incomplete}, "
            line += f"{self.missing} missing"
        noise = f"; {self.noisy} with noisy timings" if self.noisy else ""
        return f"{line}{noise}." + ("" if self.finished else " The run has not finished.")


def health(found: Sequence[Group], *, finished: bool = True) -> Health:
    """Counts and problems of a run's groups."""
    problems: list[Problem] = []
    cases = ok = missing = incomplete = 0
    for group in found:
        problems += problems_of(group)
        cases += len(group.seeds)
        kinds = [[what for what, _ in _wrong(seed)] for seed in group.seeds]
        ok += sum(not wrong for wrong in kinds)
        incomplete += sum(bool(wrong) and all(what.endswith(NOT_RUN) for what in wrong) for wrong in kinds)
        missing += sum(seed.record is None for seed in group.seeds)
    return Health(
        cases=cases,
        ok=ok,
        failed=cases - ok - incomplete - missing,
        incomplete=incomplete,
        missing=missing,
        noisy=len(noisy_keys([record for group in found for record in group.records])),
        finished=finished,
        problems=tuple(problems),
    )


def problems_of(group: Group) -> list[Problem]:
    """What is wrong with the seeds of a group, those with one reason together."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for seed in group.seeds:
        for wrong in _wrong(seed):
            seeds.setdefault(wrong, []).append(seed.case.seed)
    return [
        Problem(arch=group.arch, task=group.task, length=group.length, seeds=tuple(found), what=what, reason=reason)
        for (what, reason), found in seeds.items()
    ]


def noisy_keys(records: Sequence[Record]) -> set[str]:
    """The cases one of whose timings was taken while something else disturbed the machine."""
    pulse = median_calibration(records)
    if pulse is None:
        return set()
    return {record.key for record in records if disturbances(record, pulse)}


def _wrong(seed: Seed) -> list[tuple[str, str]]:
    """What happened and why: the status of the case, or else its probes that were refused, failed or never ran."""
    if seed.record is None:
        return [("missing", "")]
    wrong = [
        (f"{name} {probe.status}", probe.reason or "")
        for name, probe in seed.record.probes.items()
        if probe.status != "ok"
    ]
    if seed.record.status == "ok":
        return wrong + [(f"{name}{NOT_RUN}", "") for name in seed.probes if name not in seed.record.probes]
    reason = seed.record.reason or next((reason for _, reason in wrong if reason), "")
    return [(seed.record.status.replace("_", " "), reason)]
