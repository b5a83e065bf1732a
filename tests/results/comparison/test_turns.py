"""Test the verdicts of two runs that were measured in turns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from results import Block, Case, Record, Run, RunFile, Turns
from results.comparison import LOOKS, Thresholds, compare
from results.comparison.turns import SHARES, were_measured_in_turns
from results.comparison.verdict import ALONE
from tests import turn_promises
from tests.promises import normal
from tests.results.examples import FIXTURES
from tests.results.planted import Slower, grid, nothing, run_of

Stored = tuple[RunFile, list[Record]]
CASES = grid(tasks=1, seeds=1)
QUIET = 0.01
"""Noise of a process with which eight pairs settle every comparison of `CASES`."""


def slower_lstm(slow_down: float) -> Slower:
    def slower(case: Case, metric: str) -> float:
        return math.log1p(slow_down) if case.arch == "lstm" and metric == "step_seconds" else 0.0

    return slower


def in_turns(
    cases: Sequence[Case] = CASES,
    *,
    pairs: int = 8,
    limit: int = 20,
    noise: float = QUIET,
    slower: Slower = nothing,
) -> tuple[Stored, Stored]:
    """Return a base run and a new run that name each other."""
    before, after = (
        run_of(cases, draw, processes=pairs, noise=noise, slower=change) for draw, change in ((1, nothing), (2, slower))
    )
    return linked(before, after, limit)


def linked(before: Stored, after: Stored, limit: int = 20) -> tuple[Stored, Stored]:
    order = (True, False) * (limit // 2)
    base = before[0].model_copy(update={"turns": Turns(side="base", other=after[0].id, new_first=order)})
    new = after[0].model_copy(update={"turns": Turns(side="new", other=before[0].id, new_first=order)})
    return (base, before[1]), (new, after[1])


def with_later_timings(run: Stored, first: int, factor: float) -> Stored:
    """Return a run in which the timings of the processes from `first` on are multiplied by `factor`."""
    file, records = run
    changed = [
        record.model_copy(
            update={
                "measurements": tuple(
                    each.model_copy(update={"samples": tuple(factor * value for value in each.samples)})
                    if each.process >= first
                    else each
                    for each in record.measurements
                )
            }
        )
        for record in records
    ]
    return file, changed


def test_looks_share_the_rate_of_false_alarms_and_are_balanced() -> None:
    assert sum(SHARES) < 1
    assert SHARES[0] * ALONE >= 2.0 ** -LOOKS[0]
    assert all(look % 2 == 0 for look in LOOKS)


def test_the_machine_of_runs_in_turns_cannot_differ_although_no_run_recorded_it() -> None:
    base, new = (
        (file.model_copy(update={"environment": file.environment.model_copy(update={"host": None})}), records)
        for file, records in in_turns()
    )
    assert "host" not in compare(base, new).unknown
    alone = new[0].model_copy(update={"turns": None}), new[1]
    assert "host" in compare(base, alone).unknown


def test_how_a_run_was_measured_in_turns_is_read_from_disk() -> None:
    (folder,) = (FIXTURES / "schema-7").iterdir()
    assert Run(folder).file().turns == Turns(side="new", other="20260102-030404-quick-def456", new_first=(True, False))


def test_an_unchanged_version_is_unchanged_after_eight_pairs() -> None:
    comparison = compare(*in_turns())
    timings = [row for row in comparison.rows if row.kind == "timing"]
    assert len(timings) == 2 * 5
    assert {row.verdict for row in timings} == {"unchanged"}
    assert {row.units for row in timings} == {(8, 8)}
    assert comparison.unsettled == frozenset()


def test_a_slow_down_of_five_percent_is_the_only_regression() -> None:
    comparison = compare(*in_turns(slower=slower_lstm(0.05)))
    regressed = [row for row in comparison.rows if row.verdict == "regressed"]
    assert {(row.arch, row.metric) for row in regressed} == {("lstm", "step_seconds")}
    assert len(regressed) == 2
    assert all(row.effect == pytest.approx(0.05, abs=0.02) and row.p_value <= 0.05 for row in regressed)


def test_a_speed_up_is_an_improvement() -> None:
    assert compare(*in_turns(slower=slower_lstm(-0.05))).count("improved") == 2


def test_runs_that_do_not_name_each_other_are_compared_as_separate_runs() -> None:
    base, new = in_turns(slower=slower_lstm(0.05))
    alone = new[0].model_copy(update={"turns": None}), new[1]
    assert were_measured_in_turns(base[0], new[0])
    assert not were_measured_in_turns(new[0], base[0])
    assert not compare(base, alone).in_turns
    assert compare(base, alone).count("regressed") == 0  # the threshold of separate runs is 10%


def test_a_threshold_of_the_user_applies() -> None:
    by_metric = Thresholds(by_metric={"step_seconds": 0.08})
    assert compare(*in_turns(slower=slower_lstm(0.05)), thresholds=by_metric).count("regressed") == 0
    assert compare(*in_turns(slower=slower_lstm(0.15)), thresholds=by_metric).count("regressed") == 2


def test_pairs_after_the_look_that_settled_a_comparison_do_not_count() -> None:
    base, new = in_turns(pairs=20, slower=slower_lstm(0.05))
    later = compare(base, with_later_timings(new, 8, 2.0))
    first = compare(*in_turns_until(base, new, 8))
    assert [(row.metric, row.at, row.effect, row.verdict) for row in later.rows] == [
        (row.metric, row.at, row.effect, row.verdict) for row in first.rows
    ]


def in_turns_until(base: Stored, new: Stored, pairs: int) -> tuple[Stored, Stored]:
    """Return two runs with the timings of the first pairs only."""
    sides = []
    for file, records in (base, new):
        cut = [
            record.model_copy(
                update={
                    "measurements": tuple(each for each in record.measurements if each.process < pairs),
                    "repetitions": pairs,
                }
            )
            for record in records
        ]
        sides.append((file, cut))
    return sides[0], sides[1]


def test_too_few_pairs_are_inconclusive_and_say_how_many_are_missing() -> None:
    comparison = compare(*in_turns(pairs=5))
    row = next(row for row in comparison.rows if row.kind == "timing")
    assert (row.verdict, row.reason, row.additional_units) == ("inconclusive", "too few: 5 pairs of processes", 3)


def test_a_process_without_its_partner_does_not_count() -> None:
    base, new = in_turns(pairs=9)
    comparison = compare(base, in_turns_until(base, new, 8)[1])
    assert {row.units for row in comparison.rows if row.kind == "timing"} == {(8, 8)}


def test_noisy_timings_are_unsettled_while_more_pairs_may_help() -> None:
    unsettled = compare(*in_turns(noise=0.025)).unsettled
    assert {key.split(".")[0] for key, _ in unsettled} <= {"rnn", "lstm"}
    assert unsettled


def test_hopelessly_noisy_timings_do_not_ask_for_more_pairs() -> None:
    comparison = compare(*in_turns(noise=0.3, limit=12))
    within = [row for row in comparison.rows if row.kind == "timing" and abs(row.effect or 0) < 0.03]
    metrics = {row.metric for row in within} - {
        row.metric for row in comparison.rows if row.kind == "timing" and abs(row.effect or 0) >= 0.03
    }
    assert all(row.verdict == "inconclusive" for row in within)
    assert not {metric for _, metric in comparison.unsettled} & metrics


def test_no_more_pairs_are_asked_for_at_the_limit() -> None:
    assert compare(*in_turns(noise=0.05, pairs=8, limit=8)).unsettled == frozenset()


def test_disturbed_blocks_are_inconclusive() -> None:
    base, (file, records) = in_turns(slower=slower_lstm(0.2))
    loaded = [
        record.model_copy(
            update={
                "measurements": tuple(
                    each.model_copy(update={"blocks": (Block(calibration_seconds=0.005, load=0.5),)})
                    if each.blocks
                    else each
                    for each in record.measurements
                )
            }
        )
        for record in records
    ]
    rows = [row for row in compare(base, (file, loaded)).rows if row.kind == "timing"]
    assert {row.verdict for row in rows} == {"inconclusive"}
    assert all("disturbed" in row.reason for row in rows)


def test_a_calibration_that_explains_the_change_is_inconclusive() -> None:
    before = run_of(CASES, 1, processes=8, noise=QUIET)
    after = run_of(CASES, 2, processes=8, noise=QUIET, slower=slower_lstm(0.05), calibration=0.005 * 1.05)
    rows = [row for row in compare(*linked(before, after)).rows if row.arch == "lstm" and row.metric == "step_seconds"]
    assert {row.verdict for row in rows} == {"inconclusive"}
    assert all("calibration" in row.reason for row in rows)


def test_a_linear_drift_cancels_in_two_pairs_of_opposite_order() -> None:
    def drifting(generator: np.random.Generator, units: int, comparisons: int) -> turn_promises.Floats:
        return np.linspace(0.0, 1.0, units)[:, None] * np.ones(comparisons)

    ratios = turn_promises.ratios(np.random.default_rng(0), drifting, 1)
    assert np.abs(ratios).min() > 0.01
    assert ratios.reshape(-1, 2).sum(axis=1) == pytest.approx(0.0)


@pytest.mark.parametrize("draw", [normal, turn_promises.abrupt, turn_promises.resembling])
def test_few_simulated_comparisons_raise_a_false_alarm(draw: turn_promises.Draw) -> None:
    generator = np.random.default_rng(1)
    alarms = sum(
        turn_promises.judge(turn_promises.ratios(generator, draw, 1))[0].decision.verdict == "regressed"
        for _ in range(150)
    )
    assert alarms <= 5  # 1% of 150 is 1.5, and more than 5 has a probability below 1%


def test_most_simulated_slow_downs_are_found() -> None:
    assert turn_promises.power(0.05, 0.02, 60, low=0.9).kept
    assert turn_promises.power(0.2, 0.05, 60, low=0.99).kept
