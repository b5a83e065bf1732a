"""The rows, headline and notes of a comparison of two runs, in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from reports.format import numbers
from reports.text.reasons import needed_to_decide
from results import Case, location_parts
from results.comparison import COMPARED_METRICS, MACHINE, Comparison, MissingCase, Row, follows, location_text

MAX_NAMED = 3
"""The largest number of cases that are named in a line."""
MIN_WITNESSED = 0.03
"""Smallest change of a timing, in either direction, of which CPU time and instructions are shown in words."""


def headline(comparison: Comparison) -> str:
    """Return the number of rows per verdict in one line: `1 regressed, 0 improved, …`.

    Missing cases, per run, and newly failed cases are counted at the end, if there are any. The line also says how
    many repetitions or seeds would decide the inconclusive rows, if this is known.
    """
    c = comparison
    needed = needed_to_decide(c, c.rows)
    counts = [f"{c.count('regressed'):,} regressed", f"{c.count('improved'):,} improved"]
    counts.append(f"{c.count('inconclusive'):,} inconclusive{f' (to decide: {needed})' if needed else ''}")
    if c.count("not comparable"):
        counts.append(f"{c.count('not comparable'):,} not comparable")
    counts.append(f"{c.count('unchanged'):,} unchanged of {numbers.plural(len(c.rows), 'comparison')}")
    missing = {run: sum(case.run == run for case in c.missing) for run in ("base", "new")}
    counts += [f"{count:,} missing in {run}" for run, count in missing.items() if count]
    if c.failed:
        counts.append(f"{len(c.failed):,} newly failed")
    return ", ".join(counts)


def noise_in_words(comparison: Comparison) -> str:
    """Return how exact the timings are, in one line, or "" if none has an interval.

    The line has the half widths of the 95% intervals of the changes: their median over all timings, and the largest.
    """
    widths = [
        (row.high - row.low) / 2
        for row in comparison.rows
        if row.kind == "timing" and row.low is not None and row.high is not None
    ]
    if not widths:
        return ""
    typical, largest = statistics.median(widths), max(widths)
    return (
        f"noise: {numbers.plural(len(widths), 'timing')}, known to ±{typical:.1%} (median), at worst to ±{largest:.1%}"
    )


def notes(comparison: Comparison) -> list[str]:
    """Return lines on the differences between the runs, then on the cases that could not be compared."""
    c = comparison
    lines = differences_in_words(comparison) + floor_in_words(comparison)
    lines += [f"not finished: the {name} run" for name, run in (("base", c.base), ("new", c.new)) if not run.finished]
    lines += [f"{missing_text(case)}: {case_text(case)}" for case in c.missing]
    lines += [f"newly failed: {case_text(case)}: {case.reason}" for case in c.failed]
    lines += [f"already failed in the base: {case_text(case)}: {case.reason}" for case in c.failed_in_base]
    if c.added:
        noun = "benchmark" if c.is_of_files else "case"
        lines.append(f"only in the new run: {numbers.plural(c.added, noun)}{_named_settings(c.added_cases)}")
    if c.added_metrics:
        lines.append(f"measured only in the new run: {', '.join(c.added_metrics)}")
    if c.not_requested:
        lines.append(f"not requested in the new run: {', '.join(c.not_requested)}")
    return lines


def _named_settings(cases: Sequence[Case]) -> str:
    """Return the first cases without their seeds in brackets, or "" if there are none."""
    named = list(dict.fromkeys(f"{case.arch} on {case.task} at {case.length:,}" for case in cases))
    if len(named) > MAX_NAMED:
        named[MAX_NAMED:] = [f"{len(named) - MAX_NAMED:,} more"]
    return f" ({numbers.listed(named)})" if named else ""


def floor_in_words(comparison: Comparison) -> list[str]:
    """Return a line on the cases whose score cannot fall, because it is that of a model without memory in the base.

    The list is empty if there are none, or if no score was compared.
    """
    cases = comparison.at_floor
    if not cases or not any(row.metric == "accuracy" for row in comparison.rows):
        return []
    shown = [
        f"{each.case.arch} on {each.case.task} at {each.length:,} ({numbers.score(each.score)}, without memory "
        f"{numbers.score(each.floor)})"
        for each in cases[:MAX_NAMED]
    ]
    more = [f"{len(cases) - MAX_NAMED:,} more"] if len(cases) > MAX_NAMED else []
    return [f"at the floor in the base, so no loss of score can show: {numbers.listed([*shown, *more])}"]


def differences_in_words(comparison: Comparison) -> list[str]:
    """Return one line per difference between the conditions of the runs, such as `differs: numba 0.60 → 0.68`.

    The last line names the fields that would have to be equal but that neither run has, if there are any.
    """
    c = comparison
    lines = [
        f"{'timings ' if difference.field in MACHINE else ''}not comparable: {difference}"
        for difference in c.differences
    ]
    lines += [f"allowed to differ: {difference}" for difference in c.allowed]
    lines += [f"differs: {difference.phrase}" for difference in c.reported_differences]
    if c.unknown:
        lines.append(f"not recorded in either run, so may differ: {', '.join(c.unknown)}")
    return lines


def name_of(row: Row) -> str:
    """Return the case, the metric and the location of a row in one line."""
    return f"{_case(row)}: {row.metric}{location_text(row.at)}"


def change_of(row: Row) -> str:
    """Return the effect with its interval, as a percentage or as a difference of scores.

    Examples: `+20.1% (+15.2 to +25.3)` and `-0.100 (-0.150 to -0.050)`. Without an effect, the text is a dash. A size
    that was 0 has no relative change; its text is `from 0`.
    """
    if row.effect is None:
        is_new_size = row.kind == "size" and row.base == 0 and row.verdict != "not comparable"
        return "from 0" if is_new_size else numbers.MISSING
    if row.kind == "score":
        bounds = "" if row.low is None or row.high is None else f" ({row.low:+.3f} to {row.high:+.3f})"
        return f"{row.effect:+.3f}{bounds}"
    has_bounds = row.low is not None and row.high is not None and row.low != row.high
    bounds = f" ({100 * (row.low or 0):+.1f} to {100 * (row.high or 0):+.1f})" if has_bounds else ""
    return f"{row.effect:+.1%}{bounds}"


def cells(row: Row) -> tuple[str, ...]:
    """Return six table cells for a row: case, metric, base, new, change and verdict."""
    return (_case(row), _metric(row), _value(row, row.base), _value(row, row.new), change_of(row), _verdict(row))


def missing_text(missing: MissingCase) -> str:
    """Return what is missing in which run, and why: `missing in base: damaged (corrupt: checksum mismatch)`."""
    return f"missing in {missing.run}: {missing.reason}"


def case_text(missing: MissingCase) -> str:
    """Return a missing or failed case with its seed: `lstm on adding at 128, seed 0`.

    A case that only serves to choose a learning rate is named with its rate. A benchmark is its name.
    """
    case = missing.case
    if isinstance(case, str):
        return case
    rate = "" if case.is_reported else f", tuning of learning rate {case.protocol.learning_rate:g}"
    return f"{case.arch} on {case.task} at {case.length:,}{rate}, seed {case.seed}"


def absent_cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return six table cells, as `cells` does, for each missing and each newly failed case."""
    texts = [(case, missing_text(case)) for case in comparison.missing]
    texts += [(case, f"newly failed: {case.reason}") for case in comparison.failed]
    return [(case_text(case), *[numbers.MISSING] * 4, text) for case, text in texts]


def _case(row: Row) -> str:
    if row.benchmark:
        return row.benchmark
    length = "" if row.length is None else f" {row.length:,}"
    return f"{row.arch} on {row.task}{length}{f', {row.condition}' if row.condition else ''}"


def _metric(row: Row) -> str:
    metric = COMPARED_METRICS[row.metric]
    title = metric.short_title or metric.title
    return f"{title}{''.join(f', {name} {value}' for name, value in location_parts(dict(row.at), separator=','))}"


def _value(row: Row, value: float | None) -> str:
    if value is None:
        return numbers.MISSING
    if row.kind == "score":
        return numbers.score(value)
    if row.kind == "size":
        return numbers.size(value) if COMPARED_METRICS[row.metric].unit == "B" else numbers.whole(value)
    return f"{numbers.microseconds(value)} µs" if value < 1e-3 else f"{numbers.milliseconds(value)} ms"


def witness_of(row: Row) -> str:
    """Return what CPU time and instructions say about the change of a timing; empty if it is small or they are unknown.

    Examples: `CPU time +12.1%, instructions +11.9%: more work`, `instructions +0.1%: slower machine or memory`.
    """
    if row.effect is None or abs(row.effect) < MIN_WITNESSED or row.verdict == "unchanged":
        return ""
    named = {"CPU time": row.cpu_effect, "instructions": row.instructions_effect}
    known = {name: effect for name, effect in named.items() if effect is not None}
    if not known:
        return ""
    shown = ", ".join(f"{name} {effect:+.1%}" for name, effect in known.items())
    more, slower = ("more", "slower") if row.effect > 0 else ("less", "faster")
    if follows(row.instructions_effect, row.effect):
        return f"{shown}: {more} work"
    if row.cpu_effect is not None and not follows(row.cpu_effect, row.effect):
        return f"{shown}: {more} waiting"
    return f"{shown}: {'not waiting' if row.instructions_effect is None else f'{slower} machine or memory'}"


def _verdict(row: Row) -> str:
    reason = f" ({row.reason})" if row.reason and row.verdict != "regressed" else ""
    witness = witness_of(row)
    return f"{row.verdict}{reason}{f'; {witness}' if witness else ''}"
