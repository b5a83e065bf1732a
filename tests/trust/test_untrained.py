"""The check of untrained models passes for equal costs, and fails if the weights change a cost."""

from __future__ import annotations

import numpy as np
import pytest

from bench.machine.denormals import flushes_denormals
from bench.plans.grid import cases
from results import Case, Measurement, Record
from tests.trust.untrained import costs_are_equal, fastest_step, plan_of, tiny_weights_cost_the_same

ARCHS = ("rnn", "lstm")
PROCESSES = 8


def planned() -> list[Case]:
    return cases(plan_of(ARCHS))


def record_of(case: Case, slower: float, noise: np.random.Generator) -> Record:
    """Return a record whose processes take 10 µs per step, or `slower` times as long if the case is untrained.

    What the models of a process share disturbs both alike.
    """
    shared = np.random.default_rng(7).lognormal(0, 0.2, PROCESSES)
    seconds = 1e-5 * (1.0 if case.protocol.trains else slower) * shared * noise.lognormal(0, 0.005, PROCESSES)
    measurements = tuple(
        Measurement(metric="step_seconds", at={"position": 16}, samples=(float(each),), process=process)
        for process, each in enumerate(seconds)
    )
    return Record(key=case.key, case=case, status="ok", measurements=measurements, repetitions=PROCESSES)


def test_each_architecture_is_timed_with_trained_and_with_initial_weights() -> None:
    assert sorted((case.arch, case.protocol.trains) for case in planned()) == [
        ("lstm", False),
        ("lstm", True),
        ("rnn", False),
        ("rnn", True),
    ]


@pytest.mark.parametrize(("slower", "passed"), [(1.0, True), (1.2, False)])
def test_tiny_weights_must_not_be_slower_if_denormals_are_flushed(
    slower: float, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.trust.untrained.fastest_step",
        lambda spec, factor, flush: 1e-6 * (1.0 if factor == 1.0 else slower if flush else 1.3),
    )
    (row,) = tiny_weights_cost_the_same(["lstm"])
    assert row.passed is passed
    assert row.measured.startswith("1 µs; ") and row.measured.endswith("+30.0% kept")


def test_a_step_is_timed_and_the_setting_of_denormals_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.trust.untrained.BURSTS", 2)
    assert 1e-9 < fastest_step("rnn", 1.0, flush=True) < 1e-2
    assert not flushes_denormals()


@pytest.mark.parametrize(("slower", "passed"), [(1.0, True), (1.1, False), (0.9, False)])
def test_a_cost_that_depends_on_the_weights_fails(slower: float, passed: bool) -> None:
    noise = np.random.default_rng(0)
    rows = costs_are_equal([record_of(case, slower, noise) for case in planned()])
    assert [row.promise for row in rows] == ["rnn: step_seconds position 16", "lstm: step_seconds position 16"]
    assert [row.passed for row in rows] == [passed] * 2
