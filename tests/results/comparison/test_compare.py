"""Test the verdicts of comparisons on synthetic runs with planted changes."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from results import Block, Case, Measurement, ProbeRun, Protocol, Record, RunFile, Tuning
from results.comparison.compare import compare
from results.comparison.pairing import condition_differences, conditions_of
from results.comparison.rows import EVERYWHERE, Comparison, location_text
from results.comparison.verdict import Thresholds
from results.statistics import permutation
from tests import promises
from tests.results.planted import CALIBRATION_SECONDS, PROTOCOL, case_of, grid, run_of

CASES = grid(tasks=2, seeds=2)
STREAMED = ("step_seconds", "state_bytes")
STEP_20 = math.log(1.2)
FEW = 7
"""Number of timing comparisons of one case."""


def slow_lstm(case: Case, metric: str) -> float:
    return STEP_20 if case.arch == "lstm" and metric == "step_seconds" else 0.0


def verdicts(comparison: Comparison, **of: Any) -> set[str]:
    return {row.verdict for row in comparison.rows if all(getattr(row, name) == value for name, value in of.items())}


def _with(record: Record, measurement: Measurement) -> Record:
    return record.model_copy(update={"measurements": (*record.measurements, measurement)})


def with_blocks(record: Record, blocks: tuple[Block, ...], samples: tuple[float, ...] | None = None) -> Record:
    """Return a record whose timings have these blocks and, in each block, these samples; None for those they have."""
    return record.model_copy(
        update={
            "measurements": tuple(
                each.model_copy(
                    update={"blocks": blocks, "samples": each.samples if samples is None else samples * len(blocks)}
                )
                if each.blocks
                else each
                for each in record.measurements
            )
        }
    )


class TestTimings:
    def test_two_runs_without_a_change_are_unchanged(self) -> None:
        comparison = compare(run_of(CASES, 1), run_of(CASES, 2))
        assert verdicts(comparison, kind="timing") == {"unchanged"}
        assert len([row for row in comparison.rows if row.kind == "timing"]) == 2 * 2 * 5

    def test_a_planted_slow_down_is_the_only_regression(self) -> None:
        comparison = compare(run_of(CASES, 1), run_of(CASES, 2, slower=slow_lstm))
        regressed = {(row.arch, row.metric) for row in comparison.rows if row.verdict == "regressed"}
        assert regressed == {("lstm", "step_seconds")}
        assert comparison.rows[0].verdict == "regressed"
        for row in comparison.rows:
            if row.verdict == "regressed":
                assert row.effect == pytest.approx(
                    0.2, abs=0.15
                )  # five standard errors at 5% noise with six units per side
                assert row.low is not None and row.effect is not None and row.high is not None
                assert row.low < row.effect < row.high

    def test_a_slow_down_in_the_base_is_an_improvement(self) -> None:
        comparison = compare(run_of(CASES, 2, slower=slow_lstm), run_of(CASES, 1))
        assert {(row.arch, row.metric) for row in comparison.rows if row.verdict == "improved"} == {
            ("lstm", "step_seconds")
        }
        assert not comparison.count("regressed")

    def test_too_few_processes_are_inconclusive_with_the_number_of_additional_units(self) -> None:
        comparison = compare(run_of(CASES, 1), run_of(CASES, 2, processes=1, slower=slow_lstm))
        rows = [row for row in comparison.rows if row.kind == "timing"]
        assert {(row.verdict, row.additional_units) for row in rows} == {("inconclusive", 3)}
        enough = compare(run_of(CASES, 1), run_of(CASES, 2, processes=4))
        assert "inconclusive" not in verdicts(enough, kind="timing", reason="too few: 6 against 4 processes")

    def test_a_custom_threshold_decides_the_verdict(self) -> None:
        runs = run_of(CASES, 1, noise=0.01), run_of(CASES, 2, noise=0.01, slower=slow_lstm)
        assert compare(*runs, thresholds=Thresholds(by_metric={"step_seconds": 0.5})).count("regressed") == 0
        assert compare(*runs, thresholds=Thresholds(by_metric={"step_seconds": 0.05})).count("regressed") == 4

    def test_disturbed_blocks_are_inconclusive(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 2, slower=slow_lstm)
        busy = Block(calibration_seconds=0.005, waiting_share=0.5)
        disturbed = [
            record.model_copy(
                update={
                    "measurements": tuple(
                        measurement.model_copy(update={"blocks": (busy,)})
                        if measurement.metric == "step_seconds"
                        else measurement
                        for measurement in record.measurements
                    )
                }
            )
            for record in records
        ]
        comparison = compare(base, (file, disturbed))
        assert verdicts(comparison, metric="step_seconds") == {"inconclusive"}
        assert verdicts(comparison, metric="forward_seconds") == {"unchanged"}
        assert "quiet machine" in next(row.reason for row in comparison.rows if row.metric == "step_seconds")

    def test_a_slower_calibration_makes_a_slow_down_inconclusive(self) -> None:
        everywhere = {"slower": lambda case, metric: STEP_20, "noise": 0.01}
        base = run_of(CASES, 1, noise=0.01)
        steady = compare(base, run_of(CASES, 2, **everywhere))
        assert verdicts(steady, kind="timing") == {"regressed"}
        slowed = compare(base, run_of(CASES, 2, **everywhere, calibration=0.006))
        assert verdicts(slowed, kind="timing") == {"inconclusive"}

    def test_a_drift_is_reported_as_unstable(self) -> None:
        generator = np.random.default_rng(5)
        drifting, unstable = promises.verdicts(promises.drift(generator, 12, 40))
        assert unstable
        assert "regressed" not in drifting
        steady, unstable = promises.verdicts(promises.normal(generator, 12, 40))
        assert not unstable
        assert set(steady) == {"unchanged"}

    def test_a_drift_explains_the_change_of_one_case_and_a_step_does_not(self) -> None:
        times, within = np.arange(12.0), np.array([0.05, -0.06, 0.01, 0.01, -0.06, 0.05] * 2)
        drifting = within + 0.02 * times  # the drift alone separates the sides by 6 * 0.02 = 12%
        decisions = promises.decisions_on(np.column_stack([drifting + 0.01 * case for case in range(FEW)]))
        assert {decision.verdict for decision in decisions} == {"inconclusive"}
        assert {decision.reason for decision in decisions} == {
            "unstable: a drift within the runs would make the new run 13% slower"
        }
        stepped = within + 0.12 * (times >= 6)
        decisions = promises.decisions_on(np.column_stack([stepped + 0.01 * case for case in range(FEW)]))
        assert {decision.verdict for decision in decisions} == {"regressed"}


class TestScores:
    def test_equal_scores_of_few_seeds_are_unchanged(self) -> None:
        assert verdicts(compare(run_of(CASES, 1), run_of(CASES, 2)), kind="score") == {"unchanged"}

    def test_a_range_of_lengths_does_not_count_in_the_scores_of_an_architecture_as_a_whole(self) -> None:
        cases = grid(tasks=3, seeds=3)
        over_range = Measurement(metric="accuracy", at={"from": 40, "to": 256}, samples=(0.0,))
        base, new = run_of(cases, 1), run_of(cases, 2, scored=lambda case, _: 0.5 if case.arch == "lstm" else 0.9)
        plain = compare(base, new)
        ranged = compare(*((file, [_with(each, over_range) for each in records]) for file, records in (base, new)))
        rows = [[row for row in found.rows if row.task == EVERYWHERE] for found in (plain, ranged)]
        assert rows[0] != []
        assert [(row.base, row.new) for row in rows[0]] == [(row.base, row.new) for row in rows[1]]

    def test_a_range_of_lengths_is_compared_with_itself_and_named_as_in_a_plan(self) -> None:
        def ranged(score: float, draw: int) -> tuple[RunFile, list[Record]]:
            file, records = run_of(CASES, draw)
            over_range = Measurement(metric="accuracy", at={"from": 40, "to": 256}, samples=(score,))
            return file, [_with(each, over_range) for each in records]

        rows = [row for row in compare(ranged(0.9, 1), ranged(0.6, 2)).rows if row.at == (("from", 40), ("to", 256))]
        assert {(row.base, row.new) for row in rows} == {(0.9, 0.6)}
        assert {location_text(row.at) for row in rows} == {" at length 40..256"}
        assert len(rows) == 4

    def test_three_seeds_detect_an_architecture_that_broke_in_all_cases(self) -> None:
        cases = grid(tasks=3, seeds=3)
        broken = run_of(cases, 2, scored=lambda case, _: 0.5 if case.arch == "lstm" else 0.9 + 0.01 * case.seed)
        comparison = compare(run_of(cases, 1), broken)
        (row,) = [row for row in comparison.rows if row.verdict == "regressed"]
        assert (row.arch, row.task, row.metric) == ("lstm", EVERYWHERE, "accuracy")
        assert row.effect == pytest.approx(0.5 - (0.9 + 0.9 + 0.01 + 0.9 + 0.02) / 3, abs=0.1)
        assert verdicts(comparison, arch="rnn", kind="score") == {"unchanged"}

    def test_six_seeds_judge_a_single_case(self) -> None:
        cases = grid(tasks=1, seeds=6)
        worse = run_of(cases, 2, scored=lambda case, _: 0.7 if case.arch == "rnn" else 0.9 + 0.01 * case.seed)
        comparison = compare(run_of(cases, 1), worse)
        assert verdicts(comparison, arch="rnn", kind="score") == {"regressed"}
        assert not [row for row in comparison.rows if row.task == EVERYWHERE]

    def test_a_small_loss_of_score_is_within_the_threshold(self) -> None:
        cases = grid(tasks=1, seeds=6)
        comparison = compare(run_of(cases, 1, scored=lambda *_: 0.99), run_of(cases, 2, scored=lambda *_: 0.98))
        assert verdicts(comparison, kind="score") == {"unchanged"}

    def test_seeds_that_agree_exactly_have_the_error_of_their_test_sets(self) -> None:
        for sequences, verdict in ((64, "inconclusive"), (1024, "unchanged")):
            protocol = PROTOCOL.model_copy(update={"test_sequences": sequences})
            cases = [case_of("lstm", seed=seed, protocol=protocol) for seed in range(6)]
            comparison = compare(run_of(cases, 1, scored=lambda *_: 0.8), run_of(cases, 2, scored=lambda *_: 0.79))
            rows = [row for row in comparison.rows if row.kind == "score"]
            assert {row.verdict for row in rows} == {verdict}
            for row in rows:
                assert row.low is not None and row.effect is not None and row.high is not None
                assert row.low < row.effect < row.high

    def test_an_architecture_whose_seeds_agree_exactly_has_an_interval_too(self) -> None:
        cases = grid(tasks=3, seeds=3)
        found = compare(run_of(cases, 1, scored=lambda *_: 0.9), run_of(cases, 2, scored=lambda *_: 0.5))
        (row, *_) = [row for row in found.rows if row.task == EVERYWHERE]
        assert row.low is not None and row.effect is not None and row.high is not None
        assert row.low < row.effect < row.high


class TestPairing:
    @pytest.mark.parametrize(
        ("field", "value"), [("host", "xyz"), ("cpu", "another"), ("cores", 8), ("threads", 2), ("torch", "2.12.0")]
    )
    def test_a_different_environment_is_not_comparable_and_reported(self, field: str, value: object) -> None:
        base, new = run_of(CASES, 1), run_of(CASES, 2, **{field: value})
        refused = compare(base, new)
        assert verdicts(refused, metric="step_seconds") == {"not comparable"}
        assert refused.rows[0].reason.startswith(f"{field}: ")
        assert [each.field for each in refused.differences] == [field]
        allowed = compare(base, new, allow=frozenset([field]))
        assert verdicts(allowed) == {"unchanged"}
        assert ([each.field for each in allowed.allowed], allowed.differences) == ([field], ())

    def test_a_different_task_version_or_protocol_is_not_comparable_and_reported(self) -> None:
        other = Protocol(steps=PROTOCOL.steps, batch=64)
        for changes, field in (({"task_version": 2}, "task version"), ({"protocol": other}, "protocol batch")):
            comparison = compare(run_of([case_of("rnn")], 1), run_of([case_of("rnn", **changes)], 2))
            assert verdicts(comparison) == {"not comparable"}
            assert comparison.rows[0].reason.startswith(f"{field}: ")
            assert not comparison.missing

    def test_a_different_number_of_samples_affects_timings_only(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 2, samples=5)
        two_blocks = (Block(calibration_seconds=CALIBRATION_SECONDS),) * 2  # two and three samples, or three and two
        comparison = compare(base, (file, [with_blocks(record, two_blocks) for record in records]))
        assert verdicts(comparison, kind="timing") == {"not comparable"}
        assert verdicts(comparison, kind="score") == {"unchanged"}
        assert comparison.rows[0].reason == "timing samples: 3 → 5; timing blocks: 1 → 2"
        comparison = compare(base, (file, [with_blocks(record, ()) for record in records]))
        assert comparison.rows[0].reason == "timing samples: 3 → 5; timing blocks: 1 → 0"

    def test_only_the_first_samples_of_each_block_count_if_the_other_run_took_fewer(self) -> None:
        """Compare 1,000 samples in 5 blocks with 200 in 5. The samples of a block after the 40th take twice as long."""
        blocks = (Block(calibration_seconds=CALIBRATION_SECONDS),) * 5
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 1)
        more = [with_blocks(record, blocks, (1.0,) * 40 + (2.0,) * 160) for record in base[1]]
        fewer = [with_blocks(record, blocks, (1.0,) * 40) for record in records]
        for pair in ((more, fewer), (fewer, more), (fewer, fewer)):
            comparison = compare((base[0], pair[0]), (file, pair[1]))
            timings = [row for row in comparison.rows if row.kind == "timing"]
            assert timings and {row.verdict for row in timings} == {"unchanged"}
            assert {row.effect for row in timings} == {0.0}
        both = compare((base[0], more), (file, more))
        assert {row.base for row in both.rows if row.kind == "timing"} == {2.0}  # nothing is left out of equal numbers

    def test_missing_failed_and_added_cases_are_counted(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of([*CASES, case_of("gru")], 2)
        changed = [records[1].model_copy(update={"status": "crashed", "reason": "out of luck"}), *records[2:]]
        comparison = compare(base, (file, changed))
        assert [missing.case for missing in comparison.missing] == [CASES[0]]
        assert [(missing.case, missing.reason) for missing in comparison.failed] == [(CASES[1], "crashed: out of luck")]
        assert comparison.added == 1
        assert compare((base[0], changed), (file, changed)).failed == ()
        assert len(compare((base[0], changed), (file, changed)).failed_in_base) == 1

    def test_an_unmeasured_metric_is_missing_unless_its_probe_was_not_requested(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 2)
        without = [
            record.model_copy(update={"measurements": [m for m in record.measurements if m.metric != "step_seconds"]})
            for record in records
        ]
        assert {missing.reason for missing in compare(base, (file, without)).missing} == {
            "step at position 16 was not measured",
            "step at position 128 was not measured",
        }
        unasked = compare(base, (file.model_copy(update={"probes": ("accuracy", "latency")}), without))
        assert (unasked.missing, unasked.not_requested) == ((), ("streaming",))

    def test_disjoint_seeds_of_a_metric_are_missing_and_never_unchanged(self) -> None:
        def only(seed: int, draw: int) -> tuple[RunFile, list[Record]]:
            file, records = run_of(grid(tasks=1, seeds=2), draw)
            return file, [
                record if record.case.seed == seed else record.model_copy(update={"measurements": (), "model": None})
                for record in records
            ]

        comparison = compare(only(0, 1), only(1, 2))
        assert comparison.rows == ()
        assert {missing.case.seed for missing in comparison.missing} == {0}
        assert "score at length 32 was not measured" in {missing.reason for missing in comparison.missing}
        assert "accuracy" in comparison.added_metrics

    def test_a_probe_that_failed_for_one_seed_is_missing_with_its_reason(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 2)
        failed = ProbeRun(status="failed", reason="out of luck", seconds=1.0)
        broken = records[0].model_copy(
            update={
                "measurements": tuple(m for m in records[0].measurements if m.metric not in STREAMED),
                "probes": records[0].probes | {"streaming": failed},
            }
        )
        comparison = compare(base, (file, [broken, *records[1:]]))
        assert {missing.case for missing in comparison.missing} == {CASES[0]}
        assert {missing.reason.partition(" (")[2] for missing in comparison.missing} == {
            "streaming failed: out of luck)"
        }
        reversed_runs = compare((file, [broken, *records[1:]]), base)
        assert reversed_runs.missing == ()
        assert [(each.case, each.reason) for each in reversed_runs.failed_in_base] == [
            (CASES[0], "streaming failed: out of luck")
        ]

    def test_a_test_length_that_lacks_a_seed_does_not_end_the_comparison(self) -> None:
        cases = grid(tasks=3, seeds=3)
        base, (file, records) = run_of(cases, 1), run_of(cases, 2)
        kept = tuple(m for m in records[0].measurements if (m.metric, m.at) != ("accuracy", {"length": 128}))
        records[0] = records[0].model_copy(update={"measurements": kept})
        assert [missing.reason for missing in compare(base, (file, records)).missing] == [
            "score at length 128 was not measured"
        ]

    def test_a_larger_state_is_a_regression(self) -> None:
        base, (file, records) = run_of(CASES, 1), run_of(CASES, 2)
        larger = [
            record.model_copy(
                update={
                    "measurements": tuple(
                        measurement.model_copy(update={"samples": (520.0,)})
                        if measurement.metric == "state_bytes"
                        else measurement
                        for measurement in record.measurements
                    )
                }
            )
            for record in records
        ]
        assert verdicts(compare(base, (file, larger)), metric="state_bytes") == {"regressed"}
        assert verdicts(compare((file, larger), base), metric="state_bytes") == {"improved"}


def test_verdicts_do_not_depend_on_the_order_of_records() -> None:
    base, (file, records) = run_of(CASES, 1), run_of(CASES, 2, slower=slow_lstm)
    shuffled = random.Random(0).sample(records, len(records))
    assert compare(base, (file, records)) == compare(base, (file, shuffled))


def test_statistics_of_a_family_are_computed_once_for_any_number_of_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    medians, calls = np.median, []

    def counted(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return medians(*given, **options)

    monkeypatch.setattr(np, "median", counted)
    of_size = []
    for size in (5, 50):
        calls.clear()
        promises.decisions_on(promises.normal(np.random.default_rng(0), 12, size))
        of_size.append(len(calls))
    assert 0 < of_size[0] == of_size[1]


def test_the_promises_hold_in_a_short_simulation() -> None:
    for draw in (promises.normal, promises.outliers):
        for promise in promises.false_alarms(draw, 60, 10, size=60):
            assert promise.kept, promise
    for promise in (promises.power(0.2, 40, size=60, low=promises.MIN_POWER), promises.coverage(promises.normal, 1000)):
        assert promise.kept, promise


def test_a_broken_promise_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = permutation.shift
    monkeypatch.setattr(permutation, "shift", lambda values, base: shift(values, base, level=0.8))
    assert not promises.coverage(promises.shared, 1000).kept
    assert not promises.by_report("alarms", [0, 0, 3, 1, 2, 0, 4, 1] * 4, 20, high=0.01).kept
    assert promises.by_report("alarms", [0, 0, 0, 0, 0, 0, 0, 1] * 4, 20, high=0.01).kept


def test_the_learning_rates_of_different_ways_of_training_are_named() -> None:
    fixed, tuned, guessing = (
        CASES[0].model_copy(update={"protocol": PROTOCOL.model_copy(update=changes), "tuning": grid_of_rates})
        for changes, grid_of_rates in (
            ({"learning_rate": 1e-2}, None),
            ({"learning_rate": None}, Tuning(learning_rates=(1e-3,))),
            ({"learning_rate": None, "optimizer": "guessing"}, None),
        )
    )

    def named(base: Case, new: Case) -> dict[str, tuple[str, str]]:
        found = condition_differences(conditions_of(base), conditions_of(new))
        return {each.field: (each.base, each.new) for each in found}

    assert named(fixed, tuned)["protocol learning_rate"] == ("0.01", "tuned")
    assert named(tuned, guessing)["protocol learning_rate"] == ("tuned", "none")
    assert named(fixed, guessing) == {
        "protocol optimizer": ("adam", "guessing"),
        "protocol learning_rate": ("0.01", "none"),
    }
