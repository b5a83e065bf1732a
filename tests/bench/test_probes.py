"""The probes against a counting clock and hand-computed sizes; and that they leave the models as they were."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
import tasks
from bench._build import build_model
from bench._plan import Timing
from bench.probes import Subject, accuracy, latency, pulse, streaming
from results import Measurement
from tests.bench.doubles import CountingClock
from tests.bench.tiny import TIMING, tiny_case

CHUNKED = 1e-6
"""Absolute: evaluation in parts adds in another order."""


def subject(name: str = "rnn", task: str = "first_last", *, length: int = 4, depth: int = 2, **changes: Any) -> Subject:
    case = tiny_case(name, task, length=length, **changes).model_copy(update={"depth": depth})
    built = tasks.build(task)
    return Subject(case=case, task=built, model=build_model(case, built))


def stream(one: Subject, *positions: int, steps: int = 10, clock: CountingClock | None = None) -> list[Measurement]:
    timing = Timing(positions=positions, steps=steps)
    found = streaming.measure([one], timing, random.Random(0), clock or CountingClock())
    return found[one.case.key]


def weights_of(one: Subject) -> list[torch.Tensor]:
    return [value.clone() for value in one.model.state_dict().values()]


class Counted:
    """Counts a model's steps and scans, by replacing both."""

    def __init__(self, one: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stepped, self.scanned = 0, 0
        step, scan = one.model.step, one.model.scan

        def counted_step(x: torch.Tensor, state: Any) -> Any:
            self.stepped += 1
            return step(x, state)

        def counted_scan(x: torch.Tensor, state: Any) -> Any:
            self.scanned += x.shape[1]
            return scan(x, state)

        monkeypatch.setattr(one.model, "step", counted_step)
        monkeypatch.setattr(one.model, "scan", counted_scan)


class TestStreaming:
    def test_the_samples_are_the_clocks_own_seconds(self) -> None:
        found = stream(subject(), 1, 16, clock=CountingClock(tick=7_000))
        seconds = [one for one in found if one.metric == "step_seconds"]
        assert [one.at for one in seconds] == [{"position": 1}, {"position": 16}]
        assert [one.samples for one in seconds] == [(7e-06,) * 10] * 2
        assert all(len(one.pulse_seconds) == 1 for one in seconds)

    def test_the_clocks_own_cost_is_measured_once(self) -> None:
        found = stream(subject(), 1, 2, clock=CountingClock(tick=40))
        assert [one.samples for one in found if one.metric == "clock_seconds"] == [(4e-08,)]

    @pytest.mark.parametrize(
        ("position", "steps", "bursts"),
        [(1, 10, 10), (15, 10, 10), (16, 10, 5), (80, 10, 1), (80, 25, 3), (4096, 128, 2)],
    )
    def test_every_burst_is_short_beside_its_position(
        self, position: int, steps: int, bursts: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = subject()
        counted = Counted(one, monkeypatch)
        (seconds,) = [m for m in stream(one, position, steps=steps) if m.metric == "step_seconds"]
        assert len(seconds.samples) == steps
        assert counted.scanned == position - 1
        assert counted.stepped == 1 + bursts + steps  # the last of the prefix, and an untimed one a burst

    def test_positions_that_a_model_cannot_read_are_left_out(self) -> None:
        one = subject("transformer:positions=learned,max_length=32")
        found = stream(one, 1, 28, 29, 64)
        # At 28 a burst of three follows the untimed step: steps 29 to 32 are the last there are.
        assert [m.at["position"] for m in found if m.metric == "step_seconds"] == [1, 28]

    def test_a_state_is_never_shared_between_bursts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each burst takes up the state of the position afresh: it steps through the same outputs."""
        for name in arch.names():
            one = subject(name)
            really, outputs = one.model.step, []

            def step(x: torch.Tensor, state: Any, really: Any = really, outputs: Any = outputs) -> Any:
                y_BO, state = really(x, state)
                outputs.append(y_BO.clone())
                return y_BO, state

            with monkeypatch.context() as patched:
                patched.setattr(one.model, "step", step)
                stream(one, 16, steps=10)
            bursts = [outputs[1 + i : 4 + i] for i in range(0, 15, 3)]
            for burst in bursts[1:]:
                for first, later in zip(bursts[0], burst, strict=True):
                    assert torch.equal(first, later), name
            assert not torch.equal(bursts[0][0], bursts[0][1])

    @pytest.mark.parametrize("name", arch.names())
    def test_no_step_is_given_the_memory_of_the_state_that_is_taken_up(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = subject(name)
        kept: list[Any] = []
        shared: list[bool] = []
        timed, really = streaming._time_steps, one.model.step

        def memory(state: Any) -> set[int]:
            return {leaf.data_ptr() for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor)}

        def step(x: torch.Tensor, state: Any) -> Any:
            if kept:
                shared.append(bool(memory(state) & memory(kept[0])))
            return really(x, state)

        monkeypatch.setattr(one.model, "step", step)
        monkeypatch.setattr(
            streaming, "_time_steps", lambda s, state, *rest: kept.append(state) or timed(s, state, *rest)
        )
        stream(one, 16, steps=10)
        assert shared == [False] * 15

    def test_the_state_is_the_one_of_that_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = subject("lstm", length=6)
        positions: list[Any] = []
        really = streaming._time_steps
        monkeypatch.setattr(
            streaming, "_time_steps", lambda s, state, *rest: positions.append(state) or really(s, state, *rest)
        )
        stream(one, 1, 6, 15)
        inputs = one.test_inputs(1, 6)
        with torch.inference_mode():
            for position, found in zip((1, 6, 15), positions, strict=True):
                state = one.model.init_state(1)
                for i in range(position):
                    _, state = one.model.step(inputs[:, i % 6], state)
                for layer, expected in zip(found, state, strict=True):
                    for a, b in zip(layer, expected, strict=True):
                        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "position", "expected"),
        [
            ("rnn", 8, 2 * 4 * 4),  # two layers of four float32
            ("gru", 8, 2 * 4 * 4),
            ("lstm", 8, 2 * 2 * 4 * 4),  # h and c
            ("lstm", 1024, 2 * 2 * 4 * 4),
            ("transformer:heads=1", 1, 2 * 2 * 1 * 4 * 4),  # keys and values of one step
            ("transformer:heads=1", 9, 2 * 2 * 16 * 4 * 4),  # room for sixteen, the eight being full
            ("transformer:heads=2", 1000, 2 * 2 * 1024 * 4 * 4),
        ],
    )
    def test_the_bytes_of_a_state_are_worked_out_by_hand(self, name: str, position: int, expected: int) -> None:
        found = stream(subject(name), position)
        assert [m.samples for m in found if m.metric == "state_bytes"] == [(float(expected),)]

    def test_a_recurrent_state_does_not_grow_and_a_cache_does(self) -> None:
        sizes = {
            name: [m.samples[0] for m in stream(subject(name), 1, 64, 1024) if m.metric == "state_bytes"]
            for name in ("gru", "transformer")
        }
        assert len(set(sizes["gru"])) == 1
        assert sizes["transformer"][0] < sizes["transformer"][1] < sizes["transformer"][2]

    @pytest.mark.parametrize("name", arch.names())
    def test_the_model_is_left_as_it_was(self, name: str) -> None:
        one = subject(name)
        before = weights_of(one)
        stream(one, 1, 16)
        assert all(torch.equal(a, b) for a, b in zip(before, weights_of(one), strict=True))

    def test_the_collector_of_garbage_is_set_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import gc

        one, seen = subject(), []
        really = one.model.step
        monkeypatch.setattr(one.model, "step", lambda x, state: seen.append(gc.isenabled()) or really(x, state))
        assert gc.isenabled()
        stream(one, 2)
        assert gc.isenabled()
        assert seen == [True] + [False] * (len(seen) - 1)
        monkeypatch.setattr(one.model, "step", lambda x, state: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stream(one, 2)
        assert gc.isenabled()

    def test_models_of_a_group_take_turns_at_each_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        group, turns = [subject(seed=seed) for seed in range(3)], []
        really = streaming._state_at
        monkeypatch.setattr(streaming, "_state_at", lambda s, at: turns.append((at, s.case.seed)) or really(s, at))
        streaming.measure(group, Timing(positions=(1, 2, 4), steps=10), random.Random(1), CountingClock())
        assert [at for at, _ in turns] == [1] * 3 + [2] * 3 + [4] * 3
        orders = [tuple(seed for _, seed in turns[i : i + 3]) for i in (0, 3, 6)]
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert len(set(orders)) > 1


class TestLatency:
    def test_what_is_timed_and_how_often(self) -> None:
        group = [subject("rnn"), subject("lstm")]
        found = latency.measure(group, TIMING, random.Random(0))
        assert set(found) == {one.case.key for one in group}
        for measurements in found.values():
            shapes = {(m.metric, m.at["batch"]): (len(m.samples), len(m.pulse_seconds)) for m in measurements}
            assert shapes == {
                ("forward_seconds", 1): (2, 2),
                ("forward_seconds", 2): (2, 2),
                ("train_step_seconds", 2): (2, 2),
            }
            assert all(sample > 0 for m in measurements for sample in m.samples)

    def test_calls_fill_a_block_and_a_sample_is_their_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []

        def timed(call: Any, count: int) -> float:
            calls.append(count)
            return 0.25

        monkeypatch.setattr(latency, "_time", timed)
        timing = Timing(blocks=3, block_seconds=10, batch=2)
        (measurements,) = latency.measure([subject()], timing, random.Random(0)).values()
        assert calls == [1] * 3 + [40] * 9
        assert [m.samples for m in measurements] == [(0.25,) * 3] * 3

    @pytest.mark.parametrize(("once", "expected"), [(0.0, 1), (60.0, 1), (0.3, 33)])
    def test_a_block_is_one_call_at_least(self, once: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        monkeypatch.setattr(latency, "_time", lambda call, count: calls.append(count) or once)
        latency.measure([subject()], Timing(blocks=1, block_seconds=10), random.Random(0))
        assert calls[3:] == [expected] * 3

    @pytest.mark.parametrize("name", arch.names())
    def test_the_training_step_trains_a_copy(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        one, stepped = subject(name), []
        really = torch.optim.Adam.step
        monkeypatch.setattr(
            torch.optim.Adam,
            "step",
            lambda self, *a: stepped.append(self.param_groups[0]["params"]) or really(self, *a),
        )
        before = weights_of(one)
        latency.measure([one], TIMING, random.Random(0))
        assert all(torch.equal(a, b) for a, b in zip(before, weights_of(one), strict=True))
        assert all(parameter.grad is None for parameter in one.model.parameters())
        assert stepped
        own = {parameter.data_ptr() for parameter in one.model.parameters()}
        assert not any(parameter.data_ptr() in own for parameter in stepped[0])

    def test_the_pulse_is_the_clocks(self) -> None:
        assert pulse(CountingClock(tick=3_000_000)) == 0.003


class TestAccuracy:
    @pytest.mark.parametrize("name", tasks.names())
    def test_each_multiple_of_the_length_with_its_chance(self, name: str) -> None:
        task = tasks.build(name)
        length = max(24, task.min_length)
        one = subject("gru", name, length=length, evaluate_at=("1x", "2x", "4x"))
        measurements, lines = accuracy.measure(one)
        assert [(line.length, line.chance, line.blind_to_the_past) for line in lines] == [
            (multiple * length, task.chance(multiple * length), task.blind_to_the_past(multiple * length))
            for multiple in (1, 2, 4)
        ]
        scores = [m for m in measurements if m.metric == "accuracy"]
        losses = [m for m in measurements if m.metric in ("cross_entropy", "mse")]
        assert [m.at for m in scores] == [m.at for m in losses] == [{"length": i * length} for i in (1, 2, 4)]
        with torch.inference_mode():
            for score, loss in zip(scores, losses, strict=True):
                batch = task.sample(tasks.generator(one.case.seed, "test"), 8, score.at["length"], "test")
                outputs = one.model.eval()(batch.inputs)
                right = task.right(task.answer(outputs), batch)[batch.mask]
                assert score.samples == (right.sum().item() / right.numel(),)
                assert loss.samples == pytest.approx((task.loss(outputs, batch).item(),), abs=CHUNKED)

    def test_a_model_that_solves_the_task_scores_one(self) -> None:
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
        assert [m.samples for m in accuracy.measure(solver)[0] if m.metric == "accuracy"] == [(1.0,)] * 2

    def test_lengths_that_a_model_cannot_read_are_left_out(self) -> None:
        one = subject("transformer:positions=learned,max_length=8", evaluate_at=("1x", "2x", "4x"))
        measurements, lines = accuracy.measure(one)
        assert [line.length for line in lines] == [4, 8]
        assert {m.at["length"] for m in measurements} == {4, 8}

    def test_a_loss_that_is_not_finite_is_left_out_and_the_score_stays(self) -> None:
        one = subject()
        with torch.no_grad():
            one.model.readout.bias[0] = float("inf")  # type: ignore[index]
        measurements, _ = accuracy.measure(one)
        assert {m.metric for m in measurements} == {"accuracy"}
