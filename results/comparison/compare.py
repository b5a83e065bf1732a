"""Compare two runs, case by case and metric by metric. Each row has a verdict.

Comparable rows also have an effect, with an interval if there are enough units.

The unit of a score is a seed. The unit of a timing is a fresh process (`carousel run --repeat`), averaged over the
seeds of a case. `verdict.py` defines the verdicts; `permutation.py` computes the p-values.

There are many comparisons and few units. A report of plan `quick` makes 175 comparisons of timings and 75 of scores.
With six units per side, p is at least 1/924. So Holm's correction over 175 comparisons cannot find any change. The
correction is therefore that of Westfall and Young over all comparisons of a family. The processes of a run are the same
for all its cases. So the labels of processes are permuted for all cases together. `permutation.py` has the equations.
`evidence.py` defines the families.

Three seeds per side are too few for a single case, but not for all cases of an architecture. In this situation, an
additional row per architecture compares the scores over all tasks and lengths. The test of this row permutes the
seeds of each case separately. (Three seeds and two cases give 400 labellings.) So three seeds suffice to detect that an
architecture broke everywhere.

Timings are not divided by the calibration time. The calibration time follows timings only in part. So the division
would add as much noise as it removes (see `python -m tests.promises`). Instead, a change that machine speed could
explain is reported as inconclusive.

Verdicts are reproducible: all random numbers have fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.comparison.comparability import MACHINE, OF_ONE_MACHINE, run_differences
from results.comparison.evidence import Pool, evidence, tested_families
from results.comparison.floors import scores_at_floor
from results.comparison.pairing import NOT_RUN, MissingCase, Pair, distinguishing_settings, pair_records
from results.comparison.renaming import Renamed, rename_run, renames
from results.comparison.rows import Comparison, in_order, judged_row, location_text, pooled_row
from results.comparison.turns import Judged, judge_in_turns, were_measured_in_turns
from results.comparison.units import COMPARED_METRICS, Units, Unmeasured, paired_units
from results.comparison.verdict import ALONE, Thresholds, decide
from results.schema.location import range_at
from results.schema.record import Record
from results.schema.run import RunFile, Side
from results.statistics.permutation import smallest_p_value

COMPILED_STEP, CALLED_STEP = "step_seconds", "call_step_seconds"


def compare(
    base: tuple[RunFile, Sequence[Record]],
    new: tuple[RunFile, Sequence[Record]],
    *,
    thresholds: Thresholds | None = None,
    allow: frozenset[str] = frozenset(),
    unusable: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    renamed: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare every metric in `COMPARED_METRICS`, for every case that both runs have.

    A case that a run planned is missing if the run has no usable record of it. Timings are not comparable if the
    machines differ in a field of `MACHINE`; scores and sizes are.

    Args:
        base: Run file and records of the baseline run.
        new: Run file and records of the new run.
        thresholds: Smallest relevant effects; the defaults of `Thresholds` if None.
        allow: Names of fields that do not prevent the comparison if they differ.
        unusable: For each run, why a record cannot be used, by the key of its case.
        renamed: New names of architectures and tasks by old names, in addition to those of the plans of the runs.

    Raises `RenameError` if names cannot be joined.
    """
    thresholds = thresholds or Thresholds()
    names = renames((base[0], new[0]), renamed)
    base, new, unusable = _under_new_names(base, new, unusable, names)
    pairing = pair_records(base, new, unusable)
    in_turns = were_measured_in_turns(base[0], new[0])
    paired = paired_units(pairing.pairs, base[1], new[1], in_turns=in_turns)
    units = paired.units
    environment = run_differences(base[0], new[0])
    differences = [
        [
            *(each for each in environment.forbidding if unit.kind == "timing" or each.field not in MACHINE),
            *pairing.pairs[unit.pair].differences,
            *unit.differences,
        ]
        for unit in units
    ]
    forbidding = [[each for each in of_unit if each.field not in allow] for of_unit in differences]
    comparable = [index for index, of_unit in enumerate(forbidding) if not of_unit]
    turns = [index for index in comparable if in_turns and units[index].kind == "timing"]
    others = [index for index in comparable if index not in turns]
    pools = list(_pools(pairing.pairs, [units[index] for index in others]))
    tested = [units[index] for index in others], [pool for _, pool in pools]
    of_others, pool_evidence = evidence(*tested, thresholds, paired.calibration_change, other_families=bool(turns))
    of_turns = judge_in_turns(
        pairing.pairs, [units[index] for index in turns], thresholds, families=tested_families(*tested) + 1
    )
    judged = dict(zip(turns, of_turns, strict=True)) | {
        index: Judged(units=units[index], evidence=each, decision=decide(each))
        for index, each in zip(others, of_others, strict=True)
    }
    limit = 0 if new[0].turns is None else len(new[0].turns.new_first)
    unsettled = [each.units for each in of_turns if each.needs_more(limit)]
    conditions = distinguishing_settings([pair.case for pair in pairing.pairs])
    rows = [
        judged_row(
            unit,
            judged.get(index),
            forbidding[index],
            arch=pairing.pairs[unit.pair].case.arch,
            task=pairing.pairs[unit.pair].case.task,
            length=pairing.pairs[unit.pair].case.length,
            condition=conditions[unit.pair],
        )
        for index, unit in enumerate(units)
    ]
    rows += [pooled_row(pool, known) for (_, pool), known in zip(pools, pool_evidence, strict=True)]
    absent = _absent(paired.unmeasured, pairing.pairs, base[0], new[0])
    found = [each for of_unit in [environment.forbidding, *differences] for each in of_unit]
    return Comparison(
        base=base[0],
        new=new[0],
        rows=in_order(rows),
        missing=(*pairing.missing, *absent.missing),
        failed=pairing.failed,
        failed_in_base=(*pairing.failed_in_base, *absent.failed_in_base),
        added=len(pairing.added),
        added_cases=pairing.added,
        added_metrics=absent.added_metrics,
        not_requested=absent.not_requested,
        differences=tuple(each for each in environment.forbidding if each.field not in allow),
        reported_differences=environment.reported,
        allowed=tuple(dict.fromkeys(each for each in found if each.field in allow)),
        unknown=tuple(name for name in environment.unknown if not (in_turns and name in OF_ONE_MACHINE)),
        at_floor=tuple(scores_at_floor(pairing.pairs)),
        unsettled=frozenset(
            (record.key, units.metric)
            for units in unsettled
            for _, _, records in _sides(pairing.pairs[units.pair], base[0], new[0])
            for record in records.values()
        ),
    )


_Run = tuple[RunFile, Sequence[Record]]
_Unusable = Mapping[str, str]


def _under_new_names(
    base: _Run, new: _Run, unusable: tuple[_Unusable, _Unusable], names: Renamed
) -> tuple[_Run, _Run, tuple[_Unusable, _Unusable]]:
    """Return two runs, and why some of their records cannot be used, with all names changed to the latest ones."""
    sides = [rename_run(file, records, names) for file, records in (base, new)]
    states = [
        {keys.get(key, key): state for key, state in of_side.items()}
        for of_side, (_, _, keys) in zip(unusable, sides, strict=True)
    ]
    return sides[0][:2], sides[1][:2], (states[0], states[1])


def _pools(pairs: Sequence[Pair], units: Sequence[Units]) -> Iterator[tuple[str, Pool]]:
    """Yield the name and scores of each architecture with enough seeds in all cases together, but in no single case.

    A test length that lacks a seed of its case is left out. So are ranges of lengths, which overlap with lengths.
    """
    scores: dict[str, dict[int, list[Units]]] = {}
    for unit in units:
        if unit.metric == "accuracy" and range_at(dict(unit.at)) is None:
            scores.setdefault(pairs[unit.pair].case.arch, {}).setdefault(unit.pair, []).append(unit)
    for arch, by_pair in sorted(scores.items()):
        most = {pair: max(len(unit.base) for unit in lengths) for pair, lengths in by_pair.items()}
        whole = [[unit for unit in lengths if len(unit.base) == most[pair]] for pair, lengths in by_pair.items()]
        base = tuple(np.mean([unit.base for unit in lengths], axis=0) for lengths in whole)
        new = tuple(np.mean([unit.new for unit in lengths], axis=0) for lengths in whole)
        fewest = min(min(len(side) for side in sides) for sides in (base, new))
        counts = [(len(before), len(after)) for before, after in zip(base, new, strict=True)]
        if len(counts) < 2 or fewest < 2 or min(smallest_p_value(*count) for count in counts) <= ALONE:
            continue
        if math.prod(smallest_p_value(*count) for count in counts) <= ALONE / len(scores):
            sequences = min(unit.sequences or 0 for lengths in whole for unit in lengths)
            yield arch, Pool(arch=arch, sequences=sequences, base=base, new=new)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absent:
    """The probes and metrics of paired cases that one run lacks. The fields are those of `Comparison`."""

    missing: tuple[MissingCase, ...]
    failed_in_base: tuple[MissingCase, ...]
    added_metrics: tuple[str, ...]
    not_requested: tuple[str, ...]


def _absent(unmeasured: Sequence[Unmeasured], pairs: Sequence[Pair], base: RunFile, new: RunFile) -> _Absent:
    """Return the probes and metrics that a run lacks.

    A probe that the plan of a run requests and that has not run yet is missing. A metric that only the base measured
    is missing if its probe was requested. A metric that only the new run measured is not missing, but is listed.

    Args:
        unmeasured: Metrics that only one run measured.
        pairs: Paired cases of the two runs.
        base: Run file of the baseline run.
        new: Run file of the new run.
    """
    missing: list[MissingCase] = []
    failed_in_base: dict[MissingCase, None] = {}
    added_metrics: dict[str, None] = {}
    not_requested: set[str] = set()
    for pair in pairs:
        for run, file, records in _sides(pair, base, new):
            for record in records.values():
                probes = [probe for probe in file.probes if probe not in record.probes]
                missing += [MissingCase(case=record.case, run=run, reason=f"{probe} {NOT_RUN}") for probe in probes]
    for each in unmeasured:
        probe = COMPARED_METRICS[each.metric].probe
        assert probe is not None
        ((file, record),) = [
            (file, records[each.seed]) for run, file, records in _sides(pairs[each.pair], base, new) if run == each.run
        ]
        ran = record.probes.get(probe)
        failure = "" if ran is None or ran.status == "ok" else f"{probe} {ran.status}"
        failure += f": {ran.reason}" if failure and ran is not None and ran.reason else ""
        if probe not in file.probes:
            if each.run == "new":
                not_requested.add(probe)
        elif ran is None:
            continue  # listed above: the probe has not run yet
        elif each.run == "new":
            reason = f"{_unmeasured_in_words(each, record)}{f' ({failure})' if failure else ''}"
            missing.append(MissingCase(case=record.case, run="new", reason=reason))
        elif failure:
            failed_in_base[MissingCase(case=record.case, run="base", reason=failure)] = None
        else:
            added_metrics[each.metric] = None
    return _Absent(
        missing=tuple(missing),
        failed_in_base=tuple(failed_in_base),
        added_metrics=tuple(added_metrics),
        not_requested=tuple(sorted(not_requested)),
    )


def _unmeasured_in_words(each: Unmeasured, record: Record) -> str:
    """Return which metric a record lacks, by its title in the rows of a comparison."""
    metric = COMPARED_METRICS[each.metric]
    text = f"{metric.short_title or metric.title}{location_text(each.at)} was not measured"
    is_interpreted = each.metric == COMPILED_STEP and any(own.metric == CALLED_STEP for own in record.measurements)
    return f"{text}, since the model has no compiled step" if is_interpreted else text


def _sides(pair: Pair, base: RunFile, new: RunFile) -> tuple[tuple[Side, RunFile, dict[int, Record]], ...]:
    return ("base", base, pair.base), ("new", new, pair.new)
