"""Did it change? Two runs, case by case and metric by metric, each with an effect, an interval and one verdict.

The unit of a score is a seed, the unit of a timing a fresh process (`carousel run --repeat`), the seeds of a case
taken together. `verdict.py` says what each verdict needs, `permutation.py` how chances are found.

Many comparisons, few units. A report of plan `quick` makes 168 comparisons of timings and 72 of scores. Six units
a side cannot give a p below 1/924, so that Holm's correction over 168 could never find anything. The correction is
therefore Westfall and Young's, over all comparisons of a family at once: the processes of a run are the same for all
its cases, so their labels are exchanged for all cases together, and the share of labellings whose largest statistic
is as large is the corrected p. `results/comparison/evidence.py` says which comparisons make a family.

What five units a side cannot be asked for a single case, all cases of an architecture can: its scores over
all tasks and lengths are compared together, as one row, the seeds of each case labelled apart (with three seeds
and two cases there are 400 labellings). So three seeds are enough to see that an architecture broke everywhere.

The pulse of the machine is not divided out: where it follows the timings only in part it adds as much noise as
it removes (`python -m tests.promises` shows it). It is a witness: a change that a change of the pulse
may explain is not called one.

Nothing is drawn from the clock or the machine: same data, same verdicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from results.comparison.evidence import Pool, evidence
from results.comparison.pairing import Difference, MissingCase, Pair, conditions, environment_differences, paired
from results.comparison.units import HIGHER_IS_BETTER, JUDGED, At, Kind, Units, Unmeasured, units_of
from results.comparison.verdict import ALONE, VERDICTS, Change, Evidence, Finding, Thresholds, found
from results.schema.record import Record
from results.schema.run import RunFile
from results.statistics.permutation import smallest_p_value

EVERYWHERE = "all tasks and lengths"
PROBES = {"forward_seconds": "latency", "train_step_seconds": "latency", "step_seconds": "streaming"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one case at one place. `base` and `new` are middles over units, in the metric's own unit.

    The effect and its bounds are a share of the base for timings and sizes, a difference for scores.
    """

    arch: str
    task: str
    length: int | None
    condition: str
    metric: str
    at: At
    kind: Kind
    base: float | None
    new: float | None
    effect: float | None
    low: float | None
    high: float | None
    chance: float | None
    """Corrected over the report, in the direction of the effect; None where nothing was tested."""
    units: tuple[int, int]
    verdict: Change
    reason: str
    further: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs compared."""

    base: RunFile
    new: RunFile
    rows: tuple[Row, ...]
    """Changed rows first, then what could not be judged, then the rest."""
    missing: tuple[MissingCase, ...]
    """Cases, and metrics of cases, that the base has."""
    failed: tuple[MissingCase, ...]
    failed_in_base: tuple[MissingCase, ...]
    added: int
    not_asked: tuple[str, ...]
    """Probes that measured in the base and that the new run was not asked for."""
    differences: tuple[Difference, ...]
    """Of the environments, none of them allowed."""
    allowed: tuple[Difference, ...]
    """All that differ and that the reader allowed to."""

    def count(self, verdict: Change) -> int:
        return sum(row.verdict == verdict for row in self.rows)


def compare(
    base: tuple[RunFile, Sequence[Record]],
    new: tuple[RunFile, Sequence[Record]],
    *,
    thresholds: Thresholds | None = None,
    allow: frozenset[str] = frozenset(),
) -> Comparison:
    """Every case and metric that both runs have. `allow` names fields in which the two may differ."""
    thresholds = thresholds or Thresholds()
    pairing = paired(base[1], new[1])
    units, lost, pulses = units_of(pairing.pairs, base[1], new[1])
    environment = environment_differences(base[0], new[0])
    in_way = [[*environment, *pairing.pairs[one.pair].differences, *one.differences] for one in units]
    refused = [[one for one in each if one.field not in allow] for each in in_way]
    fair = [index for index, each in enumerate(refused) if not each]
    pools = list(_pools(pairing.pairs, [units[index] for index in fair]))
    beat = math.log(pulses[1] / pulses[0]) if pulses[0] and pulses[1] else 0.0
    judged, pooled = evidence([units[index] for index in fair], [pool for _, pool in pools], thresholds, beat)
    by_index = dict(zip(fair, judged, strict=True))
    labels = conditions(pairing.pairs)
    rows = [
        _row(one, pairing.pairs[one.pair], labels[one.pair], by_index.get(index), refused[index])
        for index, one in enumerate(units)
    ]
    rows += [_pooled_row(pool, each) for (_, pool), each in zip(pools, pooled, strict=True)]
    missing, not_asked = _unmeasured(lost, pairing.pairs, new[0])
    return Comparison(
        base=base[0],
        new=new[0],
        rows=tuple(sorted(rows, key=_order)),
        missing=(*pairing.missing, *missing),
        failed=pairing.failed,
        failed_in_base=pairing.failed_in_base,
        added=len(pairing.added),
        not_asked=not_asked,
        differences=tuple(one for one in environment if one.field not in allow),
        allowed=tuple(dict.fromkeys(one for each in [environment, *in_way] for one in each if one.field in allow)),
    )


def place(at: At) -> str:
    """` at length 64`, or nothing."""
    return f" at {', '.join(f'{name} {value:,}' for name, value in at)}" if at else ""


def _row(one: Units, pair: Pair, condition: str, known: Evidence | None, refused: Sequence[Difference]) -> Row:
    before, after = (_middle(one, side) for side in (one.base, one.new))
    finding = Finding(verdict="not comparable", reason="; ".join(map(str, refused)))
    effect: float | None = None
    low = high = chance = None
    if known is not None:
        finding = found(known)
        effect, low, high, chance = _natural(known, one)
    case = pair.case
    return Row(
        arch=case.arch,
        task=case.task,
        length=case.length,
        condition=condition,
        metric=one.metric,
        at=one.at,
        kind=one.kind,
        base=before,
        new=after,
        effect=effect,
        low=low,
        high=high,
        chance=chance,
        units=(len(one.base), len(one.new)),
        verdict=finding.verdict,
        reason=finding.reason,
        further=finding.further,
    )


def _pooled_row(pool: Pool, known: Evidence) -> Row:
    before, after = (float(np.mean([side.mean() for side in sides])) for sides in (pool.base, pool.new))
    finding = found(known)
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
        chance=(known.worse if known.effect > 0 else known.better)[1],
        units=known.units,
        verdict=finding.verdict,
        reason=finding.reason,
        further=finding.further,
    )


def _pools(pairs: Sequence[Pair], units: Sequence[Units]) -> Iterator[tuple[str, Pool]]:
    """The scores of each architecture with several cases, where no case by itself has seeds enough."""
    scores: dict[str, dict[int, list[Units]]] = {}
    for one in units:
        if one.metric == "accuracy":
            scores.setdefault(pairs[one.pair].case.arch, {}).setdefault(one.pair, []).append(one)
    for arch, by_pair in sorted(scores.items()):
        base = tuple(np.mean([one.base for one in ones], axis=0) for ones in by_pair.values())
        new = tuple(np.mean([one.new for one in ones], axis=0) for ones in by_pair.values())
        fewest = min(min(len(side) for side in sides) for sides in (base, new))
        counts = [(len(before), len(after)) for before, after in zip(base, new, strict=True)]
        if len(counts) < 2 or fewest < 2 or smallest_p_value(*max(counts)) <= ALONE:
            continue
        if math.prod(smallest_p_value(*each) for each in counts) <= ALONE / len(scores):
            yield arch, Pool(arch=arch, base=base, new=new)


def _middle(one: Units, side: Sequence[float]) -> float | None:
    if not side:
        return None
    return math.exp(median(side)) if one.kind == "timing" else fmean(side)


def _natural(known: Evidence, one: Units) -> tuple[float, float | None, float | None, float | None]:
    """Effect, bounds and chance as a reader takes them: larger is more, and infinite bounds are none."""
    effect, low, high = known.effect, known.low, known.high
    if one.kind == "timing":
        effect, low, high = (math.expm1(value) for value in (effect, low, high))
    elif one.metric in HIGHER_IS_BETTER:
        effect, low, high = -effect, -high, -low
    bounded = all(math.isfinite(value) for value in (known.low, known.high))
    chance = (known.worse if known.effect > 0 else known.better)[1]
    tested = one.kind != "size" and smallest_p_value(*known.units) <= ALONE
    return effect, low if bounded else None, high if bounded else None, chance if tested else None


def _unmeasured(
    lost: Sequence[Unmeasured], pairs: Sequence[Pair], new: RunFile
) -> tuple[list[MissingCase], tuple[str, ...]]:
    """What the new run should have measured, and the probes that it was not asked for."""
    missing: list[MissingCase] = []
    not_asked: set[str] = set()
    for one in lost:
        probe = PROBES.get(one.metric, "streaming" if one.metric == "state_bytes" else "accuracy")
        if probe in new.probes:
            reason = f"{one.metric}{place(one.at)} was not measured"
            missing.append(MissingCase(case=pairs[one.pair].case, reason=reason))
        else:
            not_asked.add(probe)
    return missing, tuple(sorted(not_asked))


def _order(row: Row) -> tuple[object, ...]:
    metrics = list(JUDGED)
    return (
        VERDICTS.index(row.verdict),
        metrics.index(row.metric),
        -abs(row.effect or 0.0),
        row.arch,
        row.task,
        row.length or 0,
        row.condition,
        row.at,
    )
