"""Tests of the probes `latency` and `accuracy`."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

import arch
import tasks
from bench.machine.noise import Machine, calibrate
from bench.machine.timer import seconds_per_call
from bench.plans.plan import Timing
from bench.probes import accuracy, latency
from bench.probes.subject import Subject
from bench.training.adam import Adam
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine
from tests.bench.tiny import TIMING, subject, weights_of


def test_seconds_per_call_makes_the_requested_number_of_calls() -> None:
    calls: list[None] = []
    assert seconds_per_call(lambda: calls.append(None), 7, torch.device("cpu")) > 0
    assert len(calls) == 7


CHUNKED = 1e-6
"""Absolute tolerance for losses whose terms are added in a different order."""


class TestLatency:
    def test_every_call_is_timed_once_per_block(self) -> None:
        group = [subject("rnn"), subject("lstm")]
        by_case = latency.measure(group, TIMING, random.Random(0))
        assert set(by_case) == {one.case.key for one in group}
        for measurements in by_case.values():
            shapes = {(m.metric, m.at["batch"]): (len(m.samples), len(m.calibration_seconds)) for m in measurements}
            assert shapes == {
                ("forward_seconds", 1): (2, 2),
                ("forward_seconds", 2): (2, 2),
                ("train_step_seconds", 2): (2, 2),
            }
            assert all(sample > 0 for m in measurements for sample in m.samples)

    def test_calls_fill_a_block_and_a_sample_is_their_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []

        def timed(call: Any, count: int, device: torch.device) -> float:
            calls.append(count)
            return 0.25

        monkeypatch.setattr(latency, "seconds_per_call", timed)
        timing = Timing(blocks=3, block_seconds=10, batch=2)
        (measurements,) = latency.measure([subject()], timing, random.Random(0)).values()
        assert calls == [1] * 3 + [40] * 9
        assert [m.samples for m in measurements] == [(0.25,) * 3] * 3

    def test_each_block_begins_with_an_untimed_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Check that the first call after a calibration is not timed, because the calibration evicts the caches."""
        events: list[str] = []

        def timed(call: Any, count: int, device: torch.device) -> float:
            events.append(f"timed {count}")
            return 0.25

        def call(subject: Subject, batch: int) -> Any:
            return lambda: events.append("called")

        def calibration() -> float:
            events.append("calibrated")
            return 0.003

        monkeypatch.setattr(latency, "seconds_per_call", timed)
        monkeypatch.setattr(latency, "_forward", call)
        monkeypatch.setattr(latency, "_training_step", call)
        machine = Machine(calibration=calibration)
        latency.measure([subject()], Timing(blocks=2, block_seconds=10), random.Random(0), machine)
        assert events == ["called", "timed 1"] * 3 + ["calibrated", "called", "timed 40"] * 6

    @pytest.mark.parametrize(("seconds", "expected"), [(0.0, 1), (60.0, 1), (0.3, 33)])
    def test_block_has_at_least_one_call(self, seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        monkeypatch.setattr(latency, "seconds_per_call", lambda call, count, device: calls.append(count) or seconds)
        latency.measure([subject()], Timing(blocks=1, block_seconds=10), random.Random(0))
        assert calls[3:] == [expected] * 3

    def test_every_block_records_the_noise_around_it(self) -> None:
        by_case = latency.measure([subject()], TIMING, random.Random(0), loaded_machine())
        assert [one.blocks for measurements in by_case.values() for one in measurements] == [(LOADED_BLOCK,) * 2] * 3

    @pytest.mark.parametrize("name", arch.names())
    def test_training_step_trains_a_copy(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        one, stepped = subject(name), []
        original = Adam.step
        monkeypatch.setattr(
            Adam, "step", lambda self, *a: stepped.append(self.groups[0].parameters) or original(self, *a)
        )
        before = weights_of(one)
        latency.measure([one], TIMING, random.Random(0))
        assert all(torch.equal(a, b) for a, b in zip(before, weights_of(one), strict=True))
        assert all(parameter.grad is None for parameter in one.model.parameters())
        assert stepped
        own = {parameter.data_ptr() for parameter in one.model.parameters()}
        assert not any(parameter.data_ptr() in own for parameter in stepped[0])

    def test_calibration_time_is_read_from_the_clock(self) -> None:
        assert calibrate(CountingClock(tick=3_000_000)) == 0.003


class TestAccuracy:
    @pytest.mark.parametrize("name", tasks.names())
    def test_every_multiple_of_the_length_is_scored_beside_its_reference_scores(self, name: str) -> None:
        task = tasks.build(name)
        length = max(24, task.min_length)
        one = subject("gru", name, length=length, evaluate_at=("1x", "2x", "4x"))
        result = accuracy.measure(one)
        references = [(scores.length, scores.chance, scores.memoryless_score) for scores in result.reference_scores]
        assert references == [
            (multiple * length, task.chance(multiple * length), task.memoryless_score(multiple * length))
            for multiple in (1, 2, 4)
        ]
        scores = [m for m in result.measurements if m.metric == "accuracy"]
        losses = [m for m in result.measurements if m.metric in ("cross_entropy", "mse")]
        assert [m.at for m in scores] == [m.at for m in losses] == [{"length": i * length} for i in (1, 2, 4)]
        with torch.inference_mode():
            for score, loss in zip(scores, losses, strict=True):
                batch = task.sample(tasks.generator(one.case.seed, "test"), 8, score.at["length"], "test")
                outputs = one.model.eval()(batch.inputs)
                right = task.correct(task.answer(outputs), batch)[batch.mask]
                assert score.samples == (right.sum().item() / right.numel(),)
                assert loss.samples == pytest.approx((task.loss(outputs, batch).item(),), abs=CHUNKED)

    def test_model_that_solves_the_task_scores_one(self) -> None:
        one = subject(task="first_last", evaluate_at=("1x", "2x"))

        class Solver(torch.nn.Module):
            max_length = None

            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
                classes_BT = (x_BTD[:, :1, 0] + x_BTD[:, :, 0] > 0).long()
                return torch.nn.functional.one_hot(classes_BT, 2).float()

        solver = Subject(case=one.case, task=one.task, model=Solver())  # type: ignore[arg-type]
        assert [m.samples for m in accuracy.measure(solver).measurements if m.metric == "accuracy"] == [(1.0,)] * 2

    def test_lengths_that_a_model_cannot_read_are_omitted(self) -> None:
        one = subject("transformer:positions=learned,max_length=8", evaluate_at=("1x", "2x", "4x"))
        result = accuracy.measure(one)
        assert [scores.length for scores in result.reference_scores] == [4, 8]
        assert {m.at["length"] for m in result.measurements} == {4, 8}

    def test_loss_that_is_not_finite_is_omitted_and_the_score_is_kept(self) -> None:
        one = subject()
        with torch.no_grad():
            one.model.readout.bias[0] = float("inf")  # type: ignore[index]
        result = accuracy.measure(one)
        assert {m.metric for m in result.measurements} == {"accuracy"}
