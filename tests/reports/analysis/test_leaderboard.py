"""Leaderboard, step costs, latency and health agree with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

import reports
from reports import LeaderboardRow
from reports.analysis.groups import STEP_QUANTILES, group_cases
from reports.analysis.health import health
from results import Block, Measurement, ProbeRun, Record, RunFile
from tests.reports import synthetic

STUDENT_2 = 4.302653
"""Student's t with two degrees of freedom at 97.5%, from a printed table."""
EXACT = 1e-12
"""The tolerance for sums of a few doubles that are added in another order."""
TABLE_DIGITS = 1e-6
"""The tolerance for values from the printed table, which has seven digits."""


@pytest.fixture(scope="module")
def rows(run: RunFile, records: list[Record]) -> list[LeaderboardRow]:
    return reports.leaderboard(run, records)


def pick(rows: list[LeaderboardRow], arch: str, task: str, length: int) -> LeaderboardRow:
    (selected,) = [row for row in rows if (row.arch, row.task, row.length) == (arch, task, length)]
    return selected


def test_every_architecture_task_and_length_has_a_row(rows: list[LeaderboardRow]) -> None:
    assert len(rows) == 4 * 3 * 2
    assert [(row.task, row.length) for row in rows[::4]] == [(task, n) for task in synthetic.TASKS for n in (32, 128)]


def test_score_is_the_mean_over_seeds_with_students_interval(rows: list[LeaderboardRow]) -> None:
    row = pick(rows, "gru", "copy_memory", 32)
    assert row.seed_scores == (0.88, 0.91, 0.94)
    assert row.score == pytest.approx(0.91, abs=EXACT)
    half = STUDENT_2 * 0.03 / 3**0.5
    assert (row.score_low, row.score_high) == pytest.approx((0.91 - half, 0.91 + half), abs=TABLE_DIGITS)


def test_interval_of_a_score_stays_between_0_and_1(rows: list[LeaderboardRow]) -> None:
    assert pick(rows, "rnn", "adding", 128).score_low == 0.0
    assert pick(rows, "lstm", "adding", 32).score_high == 1.0


def test_best_comes_first_within_a_task_and_length(rows: list[LeaderboardRow]) -> None:
    assert [row.arch for row in rows if (row.task, row.length) == ("adding", 32)] == [
        "gru",
        "lstm",
        "transformer",
        "rnn",
    ]


def test_solved_needs_99_percent_of_the_span_from_chance(rows: list[LeaderboardRow]) -> None:
    # adding: 0.0784 + 0.99 * 0.9216 = 0.990784; first_last: 0.5 + 0.99 * 0.5 = 0.995
    assert pick(rows, "gru", "adding", 32).seed_scores == (0.998, 0.998, 0.998)
    assert pick(rows, "gru", "adding", 32).solved == 3
    assert pick(rows, "gru", "first_last", 32).seed_scores == (0.99, 0.99)
    assert pick(rows, "gru", "first_last", 32).solved == 0


def test_failed_and_missing_seeds_count_in_the_denominator_and_never_as_zero(rows: list[LeaderboardRow]) -> None:
    diverged = pick(rows, "rnn", "adding", 128)
    assert (diverged.scored, diverged.seeds, diverged.solved) == (2, 3, 0)
    assert diverged.score == pytest.approx((0.06 + 0.12) / 2, abs=EXACT)
    assert diverged.problems == ("seed 1 diverged: the loss was not finite at step 300",)
    timeout = pick(rows, "transformer", "copy_memory", 128)
    assert (timeout.scored, timeout.seeds, timeout.solved) == (2, 3, 2)
    assert timeout.score == pytest.approx(0.999, abs=EXACT)
    missing = pick(rows, "lstm", "copy_memory", 128)
    assert (missing.scored, missing.seeds, missing.problems) == (2, 3, ("seed 2 missing",))


def test_stored_score_of_a_diverged_case_is_not_counted(run: RunFile) -> None:
    case = synthetic.case("gru", "adding", 32, 0)
    stored = synthetic.record(case).model_copy(update={"status": "diverged"})
    (row,) = reports.leaderboard(synthetic.run([case]), [stored])
    assert (row.score, row.scored, row.solved, row.seeds) == (None, 0, 0, 1)


def test_rows_have_the_reference_scores(rows: list[LeaderboardRow]) -> None:
    row = pick(rows, "gru", "first_last", 128)
    assert (row.chance, row.memoryless_score) == (0.5, 0.75)
    assert pick(rows, "gru", "adding", 128).memoryless_score is None


def test_chance_comes_from_another_architecture_if_all_seeds_are_missing() -> None:
    cases = [synthetic.case("gru", "adding", 32, 0), synthetic.case("transformer", "adding", 32, 0)]
    rows = reports.leaderboard(synthetic.run(cases), [synthetic.record(cases[0])])
    assert [row.arch for row in rows] == ["gru", "transformer"]
    assert (rows[1].score, rows[1].chance, rows[1].parameters) == (None, 0.0784, None)


def streamed(seed: int, samples: dict[int, tuple[float, ...]], state: dict[int, float]) -> Record:
    case = synthetic.case("gru", "adding", 32, seed)
    steps = [Measurement(metric="step_seconds", at={"position": n}, samples=row) for n, row in samples.items()]
    sizes = [Measurement(metric="state_bytes", at={"position": n}, samples=(size,)) for n, size in state.items()]
    return synthetic.record(case).model_copy(update={"measurements": (*steps, *sizes)})


def test_step_costs_are_medians_over_cases_of_each_cases_own_quantiles() -> None:
    records = [
        streamed(0, {32: (1e-6, 2e-6, 3e-6), 64: (5e-6,)}, {64: 100.0}),
        streamed(1, {32: (4e-6, 5e-6, 90e-6), 64: (7e-6,)}, {64: 100.0}),
        streamed(2, {32: (6e-6, 7e-6, 8e-6), 64: (9e-6,)}, {64: 300.0}),
    ]
    run = synthetic.run([record.case for record in records])
    (row,) = reports.leaderboard(run, records)
    assert (row.near_position, row.far_position, row.state_bytes) == (32, 64, 100.0)
    assert row.near_step_seconds == pytest.approx(5e-6, rel=EXACT)
    assert row.far_step_seconds == pytest.approx(7e-6, rel=EXACT)
    near, far = reports.streaming(run, records)["gru"]
    assert (near.p50_lowest_seconds, near.p50_highest_seconds) == pytest.approx((2e-6, 7e-6), rel=EXACT)
    # Each case's p90, by linear interpolation between the second and the third sample: 2.8, 73 and 7.8 µs.
    assert near.p90_seconds == pytest.approx(7.8e-6, rel=EXACT)
    assert near.max_seconds == pytest.approx(8e-6, rel=EXACT)
    assert (far.position, far.cases) == (64, 3)


def test_quantiles_are_interpolated_for_any_number_of_samples_per_position() -> None:
    counts = {1: 1, 2: 2, 4: 7, 8: 60, 16: 7}
    samples = {n: tuple(np.random.default_rng(n).lognormal(size=count).tolist()) for n, count in counts.items()}
    record = streamed(0, samples, {})
    ((seed,),) = (group.seeds for group in group_cases(synthetic.run([record.case]), [record]))
    assert seed.step_quantiles.keys() == samples.keys()
    for position, quantiles in seed.step_quantiles.items():
        assert quantiles == pytest.approx(np.quantile(samples[position], STEP_QUANTILES).tolist(), rel=EXACT)


def test_nearest_position_is_nearest_as_a_ratio() -> None:
    record = streamed(0, {8: (1e-6,), 64: (2e-6,)}, {})
    (row,) = reports.leaderboard(synthetic.run([record.case]), [record])
    assert (row.near_position, row.state_bytes) == (64, None)


def test_inconsistent_case_has_no_score(run: RunFile, records: list[Record], rows: list[LeaderboardRow]) -> None:
    row = pick(rows, "gru", "first_last", 32)
    assert row.scored == 2
    assert row.problems == ("seed 0 inconsistent: scan and step differ by 3e-2 at position 7 (allowed: 1e-4)",)
    assert {cost.cases for cost in reports.streaming(run, records)["gru"]} == {3 * 3 * 2 - 1}


def test_whole_sequence_timings_are_medians_of_medians(run: RunFile, records: list[Record]) -> None:
    rows = reports.latency(run, records)
    assert {row.what for row in rows} == {"forward pass"}
    (row,) = [row for row in rows if (row.arch, row.length, row.batch) == ("rnn", 32, 1)]
    assert row.cases == 9
    assert row.median_seconds == pytest.approx(33e-6 * 32 * 1.02, rel=EXACT)
    assert row.least_seconds == pytest.approx(33e-6 * 32, rel=EXACT)
    assert row.low_seconds == pytest.approx(row.median_seconds, rel=EXACT)


def test_labels_are_short_if_the_run_has_one_variant() -> None:
    specifications = ["lstm", "lstm:forget_bias=2", "gru:reset=before"]
    cases = [synthetic.case(arch, "adding:width=1", 32, 0) for arch in specifications]
    groups = group_cases(synthetic.run(cases), [])
    assert [group.arch for group in groups] == ["lstm", "lstm:forget_bias=2", "gru"]
    assert {group.task for group in groups} == {"adding"}


def test_cases_that_differ_in_size_or_protocol_are_in_different_groups() -> None:
    case = synthetic.case("gru", "adding", 32, 0)
    wide = case.model_copy(update={"params": None, "width": 64})
    fast = case.model_copy(update={"protocol": synthetic.PROTOCOL.model_copy(update={"learning_rate": 0.01})})
    assert [group.arch for group in group_cases(synthetic.run([case, wide]), [])] == [
        "gru depth 2, 20,000 params",
        "gru depth 2, width 64",
    ]
    assert [group.arch for group in group_cases(synthetic.run([case, fast]), [])] == [
        "gru learning_rate=0.001",
        "gru learning_rate=0.01",
    ]
    newer = case.model_copy(update={"task_version": 2})
    assert [group.task for group in group_cases(synthetic.run([case, newer]), [])] == ["adding v1", "adding v2"]


def test_record_that_was_not_planned_is_shown_too() -> None:
    planned, other = synthetic.case("gru", "adding", 32, 0), synthetic.case("rnn", "adding", 128, 0)
    rows = reports.leaderboard(synthetic.run([planned]), [synthetic.record(planned), synthetic.record(other)])
    assert [(row.arch, row.length, row.scored) for row in rows] == [("gru", 32, 1), ("rnn", 128, 1)]


def test_health_counts_every_case_once(run: RunFile, records: list[Record]) -> None:
    state = health(group_cases(run, records))
    assert (state.cases, state.ok, state.failed, state.missing, state.noisy) == (72, 68, 3, 1, 0)
    assert state.verdict == "72 cases: 68 ok, 3 failed (1 inconsistent, 1 diverged and 1 timeout), 1 missing."


def test_health_of_a_complete_and_of_an_unfinished_run() -> None:
    cases = synthetic.cases()[:3]
    records = [synthetic.record(case) for case in cases]
    groups = group_cases(synthetic.run(cases), records)
    assert health(groups).verdict == "All 3 cases ok, none failed, none missing."
    assert health(groups, finished=False).verdict.endswith("The run has not finished.")


def test_slow_calibration_makes_a_case_noisy_and_a_refused_probe_makes_it_failed() -> None:
    cases = synthetic.cases()[:3]
    records = [synthetic.record(case) for case in cases]
    slow = Measurement(
        metric="step_seconds", at={"position": 1}, samples=(1e-6,), blocks=(Block(calibration_seconds=0.0063),)
    )
    records[0] = records[0].model_copy(update={"measurements": (*records[0].measurements, slow)})
    refused = {"streaming": ProbeRun(status="refused", reason="scan and step differ", seconds=0.1)}
    records[1] = records[1].model_copy(update={"probes": records[1].probes | refused})
    state = health(group_cases(synthetic.run(cases), records))
    assert (state.ok, state.failed, state.noisy) == (2, 1, 1)
    assert state.problems[0].brief == "seed 1 streaming refused: scan and step differ"


def test_case_whose_probe_never_ran_is_incomplete() -> None:
    cases = synthetic.cases()[:3]
    records = [synthetic.record(case) for case in cases]
    records[2] = records[2].model_copy(update={"probes": {"accuracy": records[2].probes["accuracy"]}})
    state = health(group_cases(synthetic.run(cases), records))
    assert (state.ok, state.failed, state.incomplete, state.missing) == (2, 0, 1, 0)
    assert state.verdict == "3 cases: 2 ok, 0 failed, 1 incomplete, 0 missing."
    assert [problem.brief for problem in state.problems] == ["seed 2 latency not run", "seed 2 streaming not run"]
    row = reports.leaderboard(synthetic.run(cases), records)[0]
    assert row.problems == ("seed 2 latency not run", "seed 2 streaming not run")
