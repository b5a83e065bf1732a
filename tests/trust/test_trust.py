"""The trust run itself: it keeps a promise where numbers do, breaks it where they do not, and plants what it says."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import arch
from bench._plan import Timing
from results import Block, Measurement
from tests.trust import _promises
from tests.trust._judging import judge, ratio_of
from tests.trust._processes import Process, neighbours
from tests.trust._promises import Row, beside_neighbours, clock, coverage, planted, quiet, same_against_same, sides
from tests.trust._subject import measured, subject

PULSE = 0.004
QUIET = Block(pulse_seconds=PULSE, load=0.01, waiting_share=0.0)
BUSY = Block(pulse_seconds=PULSE, load=0.5, waiting_share=0.0)
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


def test_a_ratio_is_worked_out_by_hand() -> None:
    low, middle, high = ratio_of([1.0, math.e], [math.e, math.e**2])
    assert middle == pytest.approx(math.e, rel=EXACT)
    # Both sides vary by 1/2 in logarithms: the error is sqrt(1/4 + 1/4), with two degrees of freedom.
    assert math.log(high) - 1 == pytest.approx(4.302652729911275 * math.sqrt(0.5), rel=1e-9)
    assert math.log(low) + math.log(high) == pytest.approx(2, rel=1e-9)
    assert ratio_of([2.0, 2.0], [3.0, 3.0]) == pytest.approx((1.5, 1.5, 1.5), rel=EXACT)


@pytest.mark.parametrize(
    ("base", "new", "verdict"),
    [
        ([1.0, 1.01, 0.99, 1.0], [1.2, 1.21, 1.19, 1.2], "regressed"),
        ([1.2, 1.21, 1.19, 1.2], [1.0, 1.01, 0.99, 1.0], "improved"),
        ([1.0, 1.01, 0.99, 1.0], [1.05, 1.06, 1.04, 1.05], "unchanged"),
        ([1.0, 1.01, 0.99, 1.0], [1.0, 1.01, 0.99, 1.0], "unchanged"),
        ([1.0, 2.0, 0.5, 1.0], [1.2, 2.4, 0.6, 1.2], "inconclusive"),
    ],
)
def test_each_verdict(base: Sequence[float], new: Sequence[float], verdict: str) -> None:
    assert judge(base, new) == verdict


def test_the_same_twice_keeps_its_promise_and_two_kinds_break_it() -> None:
    kept = same_against_same(sides(around(1.0, 24)), random.Random(0))
    assert kept.kept
    assert kept.found.startswith("0.00%; 100% unchanged")
    broken = same_against_same({"place": [1.0] * 4 + [1.5] * 4}, random.Random(0))
    assert not broken.kept


@pytest.mark.parametrize(
    ("effect", "true", "kept"), [(0.2, 1.2, True), (0.2, 1.1, False), (0.05, 1.05, True), (0.05, 1.0, False)]
)
def test_a_planted_effect_is_recovered_and_another_one_is_not(effect: float, true: float, kept: bool) -> None:
    rows = planted(sides(around(1.0, 24, seed=1)), sides(around(true, 8, seed=2)), effect)
    assert [row.promise for row in rows] == [
        f"{effect:.0%} more work: forward_seconds batch 1",
        f"{effect:.0%} more work: step_seconds position 1",
    ]
    assert [row.kept for row in rows] == [kept] * 2


def test_an_interval_so_wide_that_it_sees_nothing_breaks_the_promise() -> None:
    base, new = {"place": [1.0, 1.5, 0.7]}, {"place": [1.2, 1.8, 0.84]}
    assert [row.kept for row in planted(base, new, 0.2)] == [False]


@pytest.mark.parametrize(
    ("seconds", "block", "kept"), [(2.0, BUSY, True), (2.0, QUIET, False), (1.0, QUIET, True), (1.0, BUSY, True)]
)
def test_longer_times_beside_a_neighbour_must_be_flagged(seconds: float, block: Block, kept: bool) -> None:
    busy = [process(seconds * (1 + i / 1000), block) for i in range(3)]
    assert beside_neighbours("one", busy, sides(around(1.0, 24)), PULSE).kept is kept


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
    really = _promises.ratio_of

    def narrow(*sides: Any) -> tuple[float, float, float]:
        low, middle, high = really(*sides)
        return middle - (middle - low) / 2, middle, middle + (high - middle) / 2

    monkeypatch.setattr(_promises, "ratio_of", narrow)
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


def test_neighbours_are_gone_afterwards() -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(ZeroDivisionError), neighbours(2):
        assert len({child.pid for child in psutil.Process().children()} - before) == 2
        raise ZeroDivisionError
    assert {child.pid for child in psutil.Process().children()} <= before
