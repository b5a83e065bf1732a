"""The trust run itself: it keeps a promise where numbers do, breaks it where they do not, and plants what it says."""

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

import arch
from bench.plans.plan import Timing
from results import Block, Measurement
from tests.trust import __main__ as trust
from tests.trust import _promises
from tests.trust._processes import Process, neighbours
from tests.trust._promises import Row, beside_neighbours, clock, coverage, planted, quiet, same_against_same
from tests.trust._runs import compared, ratio
from tests.trust._subject import measured, subject

PULSE = 0.004
QUIET = Block(calibration_seconds=PULSE, load=0.01, waiting_share=0.0)
BUSY = Block(calibration_seconds=PULSE, load=0.5, waiting_share=0.0)
SMALL = Timing(positions=(1, 4), steps=10, blocks=2, block_seconds=1e-4, batch=2, streams=())
EXACT = 1e-12
"""Relative: a few operations in float64."""


def process(seconds: float, *blocks: Block) -> Process:
    timed = {"samples": (seconds, seconds), "blocks": blocks or (QUIET,)}
    return Process(
        (
            Measurement(metric="forward_seconds", at={"batch": 1}, **timed),
            Measurement(metric="step_seconds", at={"position": 1}, **timed),
            Measurement(metric="clock_seconds", samples=(4e-8,)),
        )
    )


def around(centre: float, count: int, noise: float = 0.01, seed: int = 0) -> list[Process]:
    generator = np.random.default_rng(seed)
    return [process(float(centre * value)) for value in generator.lognormal(0, noise, count)]


def slower(processes: Sequence[Process], times: float) -> list[Process]:
    return [process(times * each.timings()["forward_seconds batch 1"]) for each in processes]


def test_sides_are_judged_as_two_runs_of_fresh_processes() -> None:
    rows = compared(around(1.0, 6), around(1.3, 6, seed=1))
    assert {place: (row.units, row.verdict) for place, row in rows.items()} == {
        "forward_seconds batch 1": ((6, 6), "regressed"),
        "step_seconds position 1": ((6, 6), "regressed"),
    }
    assert rows["step_seconds position 1"].effect == pytest.approx(0.3, abs=0.02)


def test_a_ratio_is_worked_out_by_hand() -> None:
    """All six differences of logarithms, in order: 0.5, 1, 1, 1.5, 1.5, 2; their ends hold it four times in five."""
    base, new = [1.0, math.e**0.5], [math.e, math.e**1.5, math.e**2]
    low, middle, high = ratio(base, new, level=0.79)
    assert [math.log(bound) for bound in (low, middle, high)] == pytest.approx([0.5, 1.25, 2.0], rel=EXACT)
    assert ratio(base, new, level=0.99) == pytest.approx((0.0, math.exp(1.25), math.inf), rel=EXACT)


def test_the_same_twice_keeps_its_promise_and_two_kinds_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_promises, "SPLITS", 20)
    kept = same_against_same(around(1.0, 24), random.Random(0))
    assert (kept.kept, kept.found) == (True, "100.0% unchanged, 0.00% alarms")
    assert not same_against_same(around(1.0, 12) + around(1.5, 12), random.Random(0)).kept
    monkeypatch.setattr(_promises, "compared", lambda base, new: compared(base, slower(new, 1.3)))
    alarming = same_against_same(around(1.0, 24), random.Random(0))
    assert (alarming.kept, alarming.found) == (False, "0.0% unchanged, 100.00% alarms")


@pytest.mark.parametrize(
    ("effect", "true", "kept"),
    [(0.2, 1.2, True), (0.2, 1.1, False), (0.1, 1.1, True), (0.05, 1.05, True), (0.05, 1.0, False)],
)
def test_a_planted_effect_is_recovered_and_another_one_is_not(effect: float, true: float, kept: bool) -> None:
    rows = planted(around(1.0, 24, seed=1), around(true, 8, seed=2), effect)
    assert [row.promise for row in rows] == [
        f"{effect:.0%} more work: forward_seconds batch 1",
        f"{effect:.0%} more work: step_seconds position 1",
    ]
    assert [row.kept for row in rows] == [kept] * 2


@pytest.mark.parametrize("effect", [0.1, 0.2])
def test_an_interval_so_wide_that_it_sees_nothing_breaks_the_promise(effect: float) -> None:
    rows = planted(around(1.0, 24, noise=0.4), around(1 + effect, 8, noise=0.4, seed=1), effect)
    assert [row.kept for row in rows] == [False] * 2


@pytest.mark.parametrize(("effect", "said"), [(0.2, "unchanged"), (0.05, "regressed")])
def test_a_planted_effect_that_is_called_something_else_breaks_the_promise(
    effect: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(base: Sequence[Process], new: Sequence[Process]) -> Any:
        return {place: replace(row, verdict=said) for place, row in compared(base, new).items()}

    monkeypatch.setattr(_promises, "compared", mistaken)
    rows = planted(around(1.0, 24), around(1 + effect, 8, seed=1), effect)
    assert [row.kept for row in rows] == [False] * 2


@pytest.mark.parametrize(
    ("seconds", "block", "kept"), [(2.0, BUSY, True), (2.0, QUIET, False), (1.0, QUIET, True), (1.0, BUSY, True)]
)
def test_longer_times_beside_a_neighbour_must_be_called_noisy(seconds: float, block: Block, kept: bool) -> None:
    busy = [process(seconds * (1 + i / 1000), block) for i in range(3)]
    assert beside_neighbours("one", busy, around(1.0, 24), PULSE).kept is kept


def test_a_machine_is_quiet_or_not() -> None:
    assert quiet([process(1.0, QUIET)] * 9 + [process(1.0, BUSY)], PULSE).kept
    assert not quiet([process(1.0, QUIET)] * 8 + [process(1.0, BUSY)] * 2, PULSE).kept


def test_the_clock_is_held_against_one_step_of_the_many() -> None:
    assert clock([process(20 * 4.1e-6)], 20).kept
    assert not clock([process(20 * 3.9e-6)], 20).kept


def test_intervals_cover_as_they_say_and_a_narrow_one_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_promises, "SIMULATIONS", 300)

    def kept(rows: list[Row]) -> list[bool]:
        return [row.kept for row in rows]

    assert kept(coverage(np.random.default_rng(1))) == [True] * 4
    really = _promises.ratio

    def narrow(*sides: Any) -> tuple[float, float, float]:
        low, middle, high = really(*sides)
        return middle - (middle - low) / 2, middle, middle + (high - middle) / 2

    monkeypatch.setattr(_promises, "ratio", narrow)
    assert kept(coverage(np.random.default_rng(1))) == [True, True, True, False]


def test_the_model_does_its_work_so_many_times_over_and_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, thrice = subject(1), subject(3)
    inputs = plain.test_inputs(2, 16)
    counts = {"step": 0, "scan": 0}
    for name in counts:
        really = getattr(arch.SequenceModel, name)

        def counted(self: Any, *given: Any, name: str = name, really: Any = really) -> Any:
            counts[name] += 1
            return really(self, *given)

        monkeypatch.setattr(arch.SequenceModel, name, counted)
    with torch.inference_mode():
        assert torch.equal(plain.model(inputs), thrice.model(inputs))
        assert counts == {"step": 0, "scan": 4}
        states = [one.model.init_state(2) for one in (plain, thrice)]
        for x in inputs.unbind(1):
            stepped = [one.model.step(x, state) for one, state in zip((plain, thrice), states, strict=True)]
            assert torch.equal(stepped[0][0], stepped[1][0])
            states = [state for _, state in stepped]
    assert counts == {"step": 4 * 16, "scan": 4}


def test_a_process_measures_what_is_promised_of_it() -> None:
    found = Process(tuple(measured(2, SMALL)))
    assert set(found.timings()) == {
        "forward_seconds batch 1",
        "forward_seconds batch 2",
        "step_seconds position 1",
        "step_seconds position 4",
    }
    assert len(found.pulses()) == len(found.reasons(1.0)) == 4 * 2
    assert [len(m.samples) for m in found.measurements if m.metric == "clock_seconds"] == [1]


@pytest.mark.parametrize(("pays", "code"), [(1.0, 0), (0.5, 1)])
def test_the_run_ends_with_its_table(
    pays: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On an instrument that is sound, and on one that shows half of what is planted."""
    noise = np.random.default_rng(0)

    def made_up(times: int) -> Process:
        return process(float(5e-6 * (20 + pays * (times - 20)) * noise.lognormal(0, 0.005)))

    monkeypatch.setattr(trust, "fresh", made_up)
    monkeypatch.setattr(trust, "neighbours", lambda count: contextlib.nullcontext())
    monkeypatch.setattr(_promises, "SPLITS", 5)
    monkeypatch.setattr(_promises, "SIMULATIONS", 100)
    monkeypatch.setattr("sys.argv", ["trust", "--rounds", "5"])
    assert trust.main() == code
    told = capsys.readouterr().out
    assert "15 of 15 promises kept, 30 processes" in told if code == 0 else "9 of 15 promises kept" in told


def test_neighbours_are_gone_afterwards() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ZeroDivisionError), neighbours(2):
        assert len({child.pid for child in psutil.Process().children()} - before) == 2
        raise ZeroDivisionError
    assert {child.pid for child in psutil.Process().children()} <= before
