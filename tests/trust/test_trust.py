"""Tests of the trust checks.

Each check passes for a correct instrument and fails for a faulty instrument or unsuitable timings.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
from bench.plans.plan import Timing
from results import Block, Measurement
from tests.trust import __main__ as trust
from tests.trust import promises
from tests.trust.processes import Process, neighbours
from tests.trust.promises import (
    clock_is_fast,
    intervals_cover,
    machine_is_quiet,
    neighbours_are_noise,
    planted_effect_is_recovered,
    same_model_is_unchanged,
)
from tests.trust.repeating_stream import repeated_steps
from tests.trust.runs import compare_processes, ratio_interval
from tests.trust.subject import measure, repeating_subject
from tests.trust.table import Row

CALIBRATION = 0.004
QUIET = Block(calibration_seconds=CALIBRATION, load=0.01, waiting_share=0.0)
BUSY = Block(calibration_seconds=CALIBRATION, load=0.5, waiting_share=0.0)
SMALL = Timing(positions=(1, 4), steps=10, blocks=2, block_seconds=1e-4, batch=2, streams=(), chunks=())
FLOAT32 = 1e-5
"""Absolute tolerance for float32 outputs near 1."""
EXACT = 1e-12
"""Relative tolerance for a few float64 operations."""


def process_of(seconds: float, *blocks: Block) -> Process:
    timing = {"samples": (seconds, seconds), "blocks": blocks or (QUIET,)}
    return Process(
        (
            Measurement(metric="forward_seconds", at={"batch": 1}, **timing),
            Measurement(metric="step_seconds", at={"position": 1}, **timing),
            Measurement(metric="loop_clock_seconds", samples=(4e-8,)),
        )
    )


def processes_around(centre: float, count: int, noise: float = 0.01, seed: int = 0) -> list[Process]:
    generator = np.random.default_rng(seed)
    return [process_of(float(centre * value)) for value in generator.lognormal(0, noise, count)]


def slower(processes: Sequence[Process], times: float) -> list[Process]:
    return [process_of(times * each.timings()["forward_seconds batch 1"]) for each in processes]


def test_processes_are_compared_as_the_units_of_two_runs() -> None:
    rows = compare_processes(processes_around(1.0, 6), processes_around(1.3, 6, seed=1))
    assert {name: (row.units, row.verdict) for name, row in rows.items()} == {
        "forward_seconds batch 1": ((6, 6), "regressed"),
        "step_seconds position 1": ((6, 6), "regressed"),
    }
    assert rows["step_seconds position 1"].effect == pytest.approx(0.3, abs=0.02)


def test_ratio_interval_equals_values_computed_by_hand() -> None:
    """Check the interval between two base and three new values.

    The six differences of their logarithms are 0.5, 1, 1, 1.5, 1.5 and 2. The range of the differences is the interval
    at level 80%.
    """
    base, new = [1.0, math.e**0.5], [math.e, math.e**1.5, math.e**2]
    low, middle, high = ratio_interval(base, new, level=0.79)
    assert [math.log(bound) for bound in (low, middle, high)] == pytest.approx([0.5, 1.25, 2.0], rel=EXACT)
    assert ratio_interval(base, new, level=0.99) == pytest.approx((0.0, math.exp(1.25), math.inf), rel=EXACT)


def test_same_model_keeps_its_promise_and_a_mixture_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "SPLITS", 20)
    sound = same_model_is_unchanged(processes_around(1.0, 24), random.Random(0))
    assert (sound.passed, sound.measured) == (True, "100.0% unchanged, 0.00% alarms")
    mixture = processes_around(1.0, 12) + processes_around(1.5, 12)
    assert not same_model_is_unchanged(mixture, random.Random(0)).passed
    monkeypatch.setattr(promises, "compare_processes", lambda base, new: compare_processes(base, slower(new, 1.3)))
    alarming = same_model_is_unchanged(processes_around(1.0, 24), random.Random(0))
    assert (alarming.passed, alarming.measured) == (False, "0.0% unchanged, 100.00% alarms")


@pytest.mark.parametrize(
    ("effect", "ratio", "passed"),
    [(0.2, 1.2, True), (0.2, 1.1, False), (0.1, 1.1, True), (0.05, 1.05, True), (0.05, 1.0, False)],
)
def test_planted_effect_is_recovered_and_a_different_one_is_not(effect: float, ratio: float, passed: bool) -> None:
    rows = planted_effect_is_recovered(processes_around(1.0, 24, seed=1), processes_around(ratio, 8, seed=2), effect)
    assert [row.promise for row in rows] == [
        f"{effect:.0%} more work: forward_seconds batch 1",
        f"{effect:.0%} more work: step_seconds position 1",
    ]
    assert [row.passed for row in rows] == [passed] * 2


@pytest.mark.parametrize("effect", [0.1, 0.2])
def test_interval_too_wide_to_detect_the_effect_breaks_the_promise(effect: float) -> None:
    plain, slowed = processes_around(1.0, 24, noise=0.4), processes_around(1 + effect, 8, noise=0.4, seed=1)
    rows = planted_effect_is_recovered(plain, slowed, effect)
    assert [row.passed for row in rows] == [False] * 2


@pytest.mark.parametrize(("effect", "verdict"), [(0.2, "unchanged"), (0.05, "regressed")])
def test_wrong_verdict_on_a_planted_effect_breaks_the_promise(
    effect: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compare_wrongly(base: Sequence[Process], new: Sequence[Process]) -> Any:
        return {name: replace(row, verdict=verdict) for name, row in compare_processes(base, new).items()}

    monkeypatch.setattr(promises, "compare_processes", compare_wrongly)
    rows = planted_effect_is_recovered(processes_around(1.0, 24), processes_around(1 + effect, 8, seed=1), effect)
    assert [row.passed for row in rows] == [False] * 2


@pytest.mark.parametrize(
    ("seconds", "block", "passed"), [(2.0, BUSY, True), (2.0, QUIET, False), (1.0, QUIET, True), (1.0, BUSY, True)]
)
def test_longer_times_next_to_a_neighbour_must_be_noisy(seconds: float, block: Block, passed: bool) -> None:
    busy = [process_of(seconds * (1 + i / 1000), block) for i in range(3)]
    assert neighbours_are_noise("one", busy, processes_around(1.0, 24), CALIBRATION).passed is passed


def test_machine_is_quiet_up_to_the_limit_of_disturbed_blocks() -> None:
    assert machine_is_quiet([process_of(1.0, QUIET)] * 9 + [process_of(1.0, BUSY)], CALIBRATION).passed
    assert not machine_is_quiet([process_of(1.0, QUIET)] * 8 + [process_of(1.0, BUSY)] * 2, CALIBRATION).passed


def test_clock_is_compared_with_one_of_the_repeated_steps() -> None:
    assert clock_is_fast([process_of(20 * 4.1e-6)], 20).passed
    assert not clock_is_fast([process_of(20 * 3.9e-6)], 20).passed


def test_intervals_cover_the_truth_and_a_narrow_one_breaks_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "SIMULATIONS", 300)

    def passed(rows: list[Row]) -> list[bool]:
        return [row.passed for row in rows]

    assert passed(intervals_cover(np.random.default_rng(1))) == [True] * 4
    original = promises.ratio_interval

    def narrow(*sides: Any) -> tuple[float, float, float]:
        low, middle, high = original(*sides)
        return middle - (middle - low) / 2, middle, middle + (high - middle) / 2

    monkeypatch.setattr(promises, "ratio_interval", narrow)
    assert passed(intervals_cover(np.random.default_rng(1))) == [True, True, True, False]


def test_repeating_model_repeats_its_forward_pass_and_gives_the_same_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, repeating, scans = repeating_subject(1), repeating_subject(3), []
    inputs, original = plain.test_inputs(2, 16), arch.SequenceModel.scan
    monkeypatch.setattr(
        arch.SequenceModel, "scan", lambda self, *arguments: scans.append(self) or original(self, *arguments)
    )
    with torch.inference_mode():
        assert torch.equal(plain.model(inputs), repeating.model(inputs))
    assert scans == [plain.model] + [repeating.model] * 3


def test_repeated_steps_do_the_work_of_that_many_steps() -> None:
    """Check that three repetitions change the state like three steps on the same input, with one reading per step."""
    plain, inputs = repeating_subject(1).model.eval(), repeating_subject(1).test_inputs(1, 16)
    with torch.inference_mode():
        expected_BTO, expected_state = plain.stream(inputs.repeat_interleave(3, 1), plain.init_state(1))
        with repeated_steps(3):
            model, times_R = repeating_subject(1).model.eval(), torch.zeros(5, dtype=torch.int64)
            y_BTO, state = model.stream(inputs, model.init_state(1), times_R)
        # The longer stream packs its weights, so its sums have another order.
        torch.testing.assert_close(y_BTO, expected_BTO[:, 2::3], rtol=0, atol=1e-6)
        for part, expected in zip(tree_leaves(state), tree_leaves(expected_state), strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=1e-6)
        assert (times_R.diff() > 0).all()
        unchanged = repeating_subject(1).model.eval()
        after_BTO, _ = unchanged.stream(inputs, unchanged.init_state(1))
        torch.testing.assert_close(after_BTO, plain(inputs), rtol=0, atol=FLOAT32)


def test_process_measures_all_timings_with_their_noise() -> None:
    process = Process(tuple(measure(2, SMALL)))
    assert set(process.timings()) == {
        "forward_seconds batch 1",
        "forward_seconds batch 2",
        "step_seconds position 1",
        "step_seconds position 4",
    }
    assert len(process.calibration_times()) == len(process.disturbances(1.0)) == 4 * 2
    assert [len(m.samples) for m in process.measurements if m.metric == "loop_clock_seconds"] == [1]


@pytest.mark.parametrize(("recovered", "code"), [(1.0, 0), (0.5, 1)])
def test_exit_code_and_summary_follow_the_promises(
    recovered: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Check the results of a correct instrument, and of an instrument that shows half of each planted effect."""
    noise = np.random.default_rng(0)

    def simulate(repetitions: int) -> Process:
        return process_of(float(5e-6 * (20 + recovered * (repetitions - 20)) * noise.lognormal(0, 0.005)))

    monkeypatch.setattr(trust, "measure_in_fresh_process", simulate)
    monkeypatch.setattr(trust, "neighbours", lambda count: contextlib.nullcontext())
    monkeypatch.setattr(promises, "SPLITS", 5)
    monkeypatch.setattr(promises, "SIMULATIONS", 100)
    monkeypatch.setattr("sys.argv", ["trust", "--rounds", "5"])
    assert trust.main() == code
    output = capsys.readouterr().out
    assert "15 of 15 promises kept, 30 processes" in output if code == 0 else "9 of 15 promises kept" in output


def test_neighbours_are_killed_afterwards() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ZeroDivisionError), neighbours(2):
        assert len({child.pid for child in psutil.Process().children()} - before) == 2
        raise ZeroDivisionError
    assert {child.pid for child in psutil.Process().children()} <= before
