"""The health of a run: which cases are ok, failed, incomplete or missing, and which have noisy timings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.analysis.convergence import learning_seeds
from reports.analysis.groups import Group, Seed
from reports.analysis.noise import Noise, noise
from reports.format.numbers import listed, plural

Status = Literal["good", "warn", "bad"]
"""How good a result is, which the page shows by a colour besides the words: green, amber or red."""
NOT_RUN = " not run"
"""The ending of `Problem.what` for a planned probe without an entry in the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem, and the seeds of one group that have it."""

    arch: str
    task: str
    length: int
    seeds: tuple[int, ...]
    what: str
    """What is wrong with the case or a probe: `missing`, `diverged`, `streaming refused`, `latency not run`."""
    reason: str
    """The recorded reason; empty if there is none."""

    @property
    def brief(self) -> str:
        """The problem without architecture, task and length.

        Example: `seed 2 diverged: the loss was not finite at step 40`.
        """
        seeds = listed([str(seed) for seed in self.seeds])
        return f"seed{'s'[: len(self.seeds) - 1]} {seeds} {self.what}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The problems of a run, and counts of its cases: `cases = ok + failed + incomplete + missing`."""

    cases: int
    ok: int
    failed: int
    incomplete: int
    """Cases that did not fail but lack a planned probe."""
    missing: int
    noise: Noise
    """How many timings were disturbed. Cases with such timings are also counted as ok, failed or incomplete."""
    still_learning: int
    """Cases that were still learning when their training ended. Each of these cases is also counted elsewhere."""
    finished: bool
    problems: tuple[Problem, ...]

    @property
    def noisy(self) -> int:
        """The number of cases with a noisy timing."""
        return self.noise.cases

    @property
    def status(self) -> Status:
        """`good` if the run has finished, all its cases are ok and few timings are noisy, otherwise `warn`."""
        is_complete = bool(self.cases) and self.ok == self.cases and self.finished
        return "good" if is_complete and not self.noise.is_high else "warn"

    @property
    def verdict(self) -> str:
        """The counts in words, with a note if the run has not finished."""
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
            incomplete = f", {self.incomplete} incomplete" if self.incomplete else ""
            line = f"{plural(self.cases, 'case')}: {self.ok} ok, {self.failed} failed{named}{incomplete}, "
            line += f"{self.missing} missing"
        noisy = f"; {plural(self.noisy, 'case')} with noisy timings" if self.noisy else ""
        noisy += f" ({self.noise.share:.0%} of all timings)" if self.noise.is_high else ""
        learning = f"; {plural(self.still_learning, 'case')} still learning at the end" if self.still_learning else ""
        return f"{line}{noisy}{learning}." + ("" if self.finished else " The run has not finished.")


def health(groups: Sequence[Group], *, finished: bool = True) -> Health:
    """Return the counts and problems over all groups of a run. `finished` says whether the run has finished."""
    problems: list[Problem] = []
    cases = ok = missing = incomplete = 0
    for group in groups:
        problems += problems_of(group)
        cases += len(group.seeds)
        by_seed = [[what for what, _ in _problems_of_seed(seed)] for seed in group.seeds]
        ok += sum(not kinds for kinds in by_seed)
        incomplete += sum(bool(kinds) and all(kind.endswith(NOT_RUN) for kind in kinds) for kinds in by_seed)
        missing += sum(seed.record is None for seed in group.seeds)
    return Health(
        cases=cases,
        ok=ok,
        failed=cases - ok - incomplete - missing,
        incomplete=incomplete,
        missing=missing,
        noise=noise([record for group in groups for record in group.records]),
        still_learning=sum(len(learning_seeds(group)) for group in groups),
        finished=finished,
        problems=tuple(problems),
    )


def problems_of(group: Group) -> list[Problem]:
    """Return the problems of a group. Seeds with the same problem and reason share one entry."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for seed in group.seeds:
        for problem in _problems_of_seed(seed):
            seeds.setdefault(problem, []).append(seed.case.seed)
    return [
        Problem(arch=group.arch, task=group.task, length=group.length, seeds=tuple(affected), what=what, reason=reason)
        for (what, reason), affected in seeds.items()
    ]


def _problems_of_seed(seed: Seed) -> list[tuple[str, str]]:
    """Return the problems of a seed as pairs of `Problem.what` and `Problem.reason`.

    If a case is missing or its status is not `ok`, it has no other problem. For any other case, each probe that was
    refused or failed is a problem. Each planned probe that did not run is a problem too.
    """
    if seed.record is None:
        return [("missing", seed.unusable)]
    failed_probes = [
        (f"{name} {probe.status}", probe.reason or "")
        for name, probe in seed.record.probes.items()
        if probe.status != "ok"
    ]
    if seed.record.status == "ok":
        return failed_probes + [(f"{name}{NOT_RUN}", "") for name in seed.probes if name not in seed.record.probes]
    reason = seed.record.reason or next((reason for _, reason in failed_probes if reason), "")
    return [(seed.record.status.replace("_", " "), reason)]
