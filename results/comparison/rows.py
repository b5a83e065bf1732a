"""The rows and the result of a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from results.benchmarks import BenchmarkRun
from results.comparison.comparability import Difference
from results.comparison.evidence import Pool
from results.comparison.floors import ScoreAtFloor
from results.comparison.pairing import MissingCase
from results.comparison.turns import Judged, were_measured_in_turns
from results.comparison.units import COMPARED_AS, At, Units
from results.comparison.verdict import ALONE, VERDICTS, Change, Decision, Evidence, decide
from results.schema.case import Case
from results.schema.location import location_parts
from results.schema.metrics import ComparedAs
from results.schema.run import RunFile
from results.statistics.permutation import smallest_p_value
from results.statistics.witness import change

EVERYWHERE = "all tasks and lengths"
"""Text in place of the task, in rows that compare all cases of an architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The comparison of one metric at one location: of a pair of cases, a whole architecture or a benchmark.

    `base` and `new` are central values over the units of each run, in the unit of the metric. A central value is None
    if its run has no units. The effect and its bounds are relative to the base for timings and sizes, and absolute
    differences for scores. The effect and its bounds are None if the verdict is `not comparable`, or if a size was 0
    in the base. The bounds are also None if there are too few units.
    """

    arch: str
    task: str
    length: int | None
    """None in rows over all tasks and lengths."""
    condition: str
    """Settings that distinguish the case from other cases with the same architecture, task and length; often empty."""
    benchmark: str = ""
    """Name of a benchmark of another program. `arch` and `task` are then empty."""
    metric: str
    at: At
    kind: ComparedAs
    base: float | None
    new: float | None
    effect: float | None
    low: float | None
    high: float | None
    p_value: float | None
    """One-sided p-value in the direction of the effect, corrected over the report. None if nothing was tested."""
    units: tuple[int, int]
    """Number of units of the base and of the new run."""
    verdict: Change
    reason: str
    additional_units: int | None
    """Additional units per side that would settle an inconclusive verdict; None if units would not help."""
    cpu_effect: float | None = None
    """Change of the CPU time behind a timing, relative to the base; None if it is unknown. No verdict depends on it."""
    instructions_effect: float | None = None
    """Change of the retired instructions behind a timing, as for `cpu_effect`."""

    @property
    def is_pooled(self) -> bool:
        """Whether the row compares all cases of an architecture."""
        return self.task == EVERYWHERE and self.length is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of two runs, or of two sides of a benchmark program."""

    base: RunFile | BenchmarkRun
    new: RunFile | BenchmarkRun
    rows: tuple[Row, ...]
    """Changed rows first, then rows without a clear verdict, then unchanged rows."""
    missing: tuple[MissingCase, ...]
    """Cases without a usable record, probes that have not run, and metrics that the new run did not measure."""
    failed: tuple[MissingCase, ...]
    """Cases that succeeded in the baseline run and failed in the new run."""
    failed_in_base: tuple[MissingCase, ...]
    """Cases and probes that failed in the baseline run."""
    added: int
    """Number of cases that only the new run has."""
    added_metrics: tuple[str, ...]
    """Metrics that only the new run measured, although the probe also ran in the baseline run."""
    not_requested: tuple[str, ...]
    """Probes of the baseline run that were not requested in the new run."""
    differences: tuple[Difference, ...]
    """Differences between the environments that prevent the comparison."""
    reported_differences: tuple[Difference, ...]
    """Differences between the environments and plugins that do not prevent the comparison."""
    allowed: tuple[Difference, ...]
    """Differences that would prevent the comparison if the user had not allowed them."""
    unknown: tuple[str, ...]
    """Fields that would have to be equal, but that neither run has, and that may differ."""
    added_cases: tuple[Case, ...] = ()
    """The cases that `added` counts, if runs were compared."""
    at_floor: tuple[ScoreAtFloor, ...] = ()
    """Scores of the base that cannot fall."""
    unsettled: frozenset[tuple[str, str]] = frozenset()
    """Case keys and metrics of timings that more pairs of processes may settle, if the runs were measured in turns."""

    @property
    def in_turns(self) -> bool:
        """Whether the runs were measured in turns, so that timings were compared pair by pair."""
        base, new = self.base, self.new
        return isinstance(base, RunFile) and isinstance(new, RunFile) and were_measured_in_turns(base, new)

    @property
    def is_of_files(self) -> bool:
        """Whether files of a benchmark program were compared."""
        return isinstance(self.base, BenchmarkRun)

    def count(self, verdict: Change) -> int:
        """Return the number of rows with this verdict."""
        return sum(row.verdict == verdict for row in self.rows)


def location_text(at: At) -> str:
    """Return a location as text, such as ` at length 64` or ` at length 40..256`; empty if there is no location."""
    return (
        f" at {', '.join(f'{name} {value}' for name, value in location_parts(dict(at), separator=','))}" if at else ""
    )


def judged_row(
    units: Units,
    known: Judged | None,
    forbidding: Sequence[Difference],
    *,
    arch: str = "",
    task: str = "",
    length: int | None = None,
    condition: str = "",
    benchmark: str = "",
) -> Row:
    """Return the row of a comparison.

    Args:
        units: The units of both sides.
        known: What was judged; None if the sides are not comparable.
        forbidding: The differences that make the sides not comparable.
        arch: The architecture of the case.
        task: The task of the case.
        length: The length of the case.
        condition: The settings that distinguish the case from others.
        benchmark: The name of the benchmark, if it is not a case.
    """
    decision = Decision(verdict="not comparable", reason="; ".join(map(str, forbidding)))
    effect: float | None = None
    low = high = p_value = None
    if known is not None:
        units, decision = known.units, known.decision
        effect, low, high, p_value = _shown_effect(known.evidence, units)
    cpu_effect, instructions_effect = (
        None if effect is None or sides is None else change(sides, units.paired)
        for sides in (units.cpu, units.instructions)
    )
    return Row(
        arch=arch,
        task=task,
        length=length,
        condition=condition,
        benchmark=benchmark,
        metric=units.metric,
        at=units.at,
        kind=units.kind,
        base=_central(units, units.base),
        new=_central(units, units.new),
        effect=effect,
        low=low,
        high=high,
        p_value=p_value,
        units=(len(units.base), len(units.new)),
        verdict=decision.verdict,
        reason=decision.reason,
        additional_units=decision.additional_units,
        cpu_effect=cpu_effect,
        instructions_effect=instructions_effect,
    )


def pooled_row(pool: Pool, known: Evidence) -> Row:
    """Return the row that compares the scores of an architecture over all its cases."""
    before, after = (float(np.mean([side.mean() for side in sides])) for sides in (pool.base, pool.new))
    decision = decide(known)
    return Row(
        arch=pool.arch,
        task=EVERYWHERE,
        length=None,
        condition="",
        metric="accuracy",
        at=(),
        kind="score",
        base=before,
        new=after,
        effect=-known.effect,
        low=-known.high,
        high=-known.low,
        p_value=(known.worse if known.effect > 0 else known.better)[1],
        units=known.units,
        verdict=decision.verdict,
        reason=decision.reason,
        additional_units=decision.additional_units,
    )


def _central(units: Units, side: Sequence[float]) -> float | None:
    if not side:
        return None
    return math.exp(median(side)) if units.kind == "timing" else fmean(side)


def _shown_effect(known: Evidence, units: Units) -> tuple[float | None, float | None, float | None, float | None]:
    """Return the effect, its two bounds and the p-value, as shown to readers.

    A positive effect means a larger value. The effect is None if it is infinite. The two bounds are None if either
    bound is infinite. The p-value is None if nothing was tested.
    """
    effect, low, high = known.effect, known.low, known.high
    if units.kind == "timing":
        effect, low, high = (math.expm1(value) for value in (effect, low, high))
    elif units.higher_is_better:
        effect, low, high = -effect, -high, -low
    bounded = all(math.isfinite(value) for value in (known.low, known.high))
    p_value = (known.worse if known.effect > 0 else known.better)[1]
    tested = units.kind != "size" and smallest_p_value(*known.units) <= ALONE
    shown = effect if math.isfinite(effect) else None
    return shown, low if bounded else None, high if bounded else None, p_value if tested else None


def in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return rows in the order of `VERDICTS`, then of the metrics, then of falling effects.

    Rows over all cases of an architecture come before those of single cases.
    """
    return tuple(sorted(rows, key=_order))


def _order(row: Row) -> tuple[object, ...]:
    metrics = list(COMPARED_AS)
    return (
        VERDICTS.index(row.verdict),
        metrics.index(row.metric),
        not row.is_pooled,
        -math.inf if row.effect is None and row.base == 0 else -abs(row.effect or 0.0),
        row.arch,
        row.task,
        row.length or 0,
        row.condition,
        row.benchmark,
        row.at,
    )
