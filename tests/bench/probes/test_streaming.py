"""Streaming against a counting clock and hand-computed sizes; and that it leaves the models as they were."""

from __future__ import annotations

import contextlib
import gc
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
from bench.machine.memory import Memory
from bench.plans.plan import Timing
from bench.probes import Subject, streaming
from bench.probes.stream import ByHand
from results import Measurement
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine
from tests.bench.tiny import subject, weights_of


def stream(one: Subject, *positions: int, steps: int = 10, clock: CountingClock | None = None) -> list[Measurement]:
    timing = Timing(positions=positions, steps=steps, blocks=1, streams=())
    found = streaming.measure([one], timing, random.Random(0), clock or CountingClock())
    return found[one.case.key]


@pytest.fixture
def timed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the burst that is for memory alone, so that only timed ones call the model."""
    monkeypatch.setattr(streaming, "_walk", lambda place: None)


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
        assert all(len(one.calibration_seconds) == 1 for one in seconds)

    def test_blocks_share_the_steps_and_are_given_what_the_machine_did(self) -> None:
        timing = Timing(positions=(4,), steps=10, blocks=3, streams=(1, 8))
        clock = CountingClock(tick=7_000)
        (found,) = streaming.measure([subject()], timing, random.Random(0), clock, loaded_machine()).values()
        timed = {(one.metric, *one.at.values()): one for one in found if one.blocks}
        assert {place: len(one.samples) for place, one in timed.items()} == {
            ("step_seconds", 4): 12,  # ten, shared by three blocks of one size
            ("stream_step_seconds", 128, 1): 3,
            ("stream_step_seconds", 128, 8): 3,
        }
        assert {one.blocks for one in timed.values()} == {(LOADED_BLOCK,) * 3}

    def test_one_stream_at_a_position_that_is_timed_anyway_is_timed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        timed: list[tuple[int, int]] = []
        really = streaming._time_steps
        monkeypatch.setattr(
            streaming,
            "_time_steps",
            lambda place, *rest: timed.append((place.position, len(place.inputs[0]))) or really(place, *rest),
        )
        timing = Timing(positions=(2, 9), steps=10, blocks=1, streams=(1, 8), streams_position=9)
        (found,) = streaming.measure([subject()], timing, random.Random(0), CountingClock(7_000)).values()
        assert timed == [(2, 1), (9, 1), (9, 8)]
        alone, together = (m for m in found if m.metric == "stream_step_seconds")
        (position,) = (m for m in found if m.metric == "step_seconds" and m.at == {"position": 9})
        assert (alone.at, together.at) == ({"position": 9, "streams": 1}, {"position": 9, "streams": 8})
        assert (alone.samples, alone.blocks) == (position.samples, position.blocks)
        assert len(alone.samples) == 10

    @pytest.mark.parametrize("streams", [1, 5])
    def test_several_streams_are_one_batch_of_different_sequences(
        self, streams: int, monkeypatch: pytest.MonkeyPatch, timed_only: None
    ) -> None:
        one, seen = subject("gru", length=6), []
        really = one.model.step
        monkeypatch.setattr(one.model, "step", lambda x, state: seen.append(x.clone()) or really(x, state))
        timing = Timing(positions=(2,), steps=10, blocks=1, streams=(streams,), streams_position=9)
        streaming.measure([one], timing, random.Random(0), CountingClock())
        inputs = one.test_inputs(streams, 6)
        together = seen[-7:]  # the last of the prefix, four untimed steps and two timed ones
        assert [len(x) for x in together] == [streams] * 7
        for x, place in zip(together, (8 % 6, 0, 1, 2, 3, 4, 5), strict=True):
            assert torch.equal(x, inputs[:, place])

    def test_the_peak_of_memory_is_that_of_the_last_position_it_can_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peaks = {1: 1000, 24: 3000, 16: 2000}
        reached: list[int] = []
        really = streaming._walk
        monkeypatch.setattr(streaming, "_walk", lambda place: reached.append(place.position) or really(place))

        @contextlib.contextmanager
        def watched(device: torch.device) -> Iterator[Memory]:
            memory = Memory(before=100)
            yield memory
            memory.peak = peaks[reached[-1]]

        monkeypatch.setattr(streaming, "watch_memory", watched)
        one = subject("transformer:positions=learned,max_length=32")
        found = {m.metric: m.samples for m in stream(one, 1, 24, 16, 64) if m.metric.startswith("streaming_")}
        assert reached == [24]
        assert found == {"streaming_peak_bytes": (3000.0,), "streaming_added_bytes": (2900.0,)}

    def test_the_clocks_own_cost_is_measured_once(self) -> None:
        found = stream(subject(), 1, 2, clock=CountingClock(tick=40))
        assert [one.samples for one in found if one.metric == "clock_seconds"] == [(4e-08,)]

    @pytest.mark.parametrize(
        ("position", "steps", "bursts"),
        [(1, 10, 3), (39, 10, 3), (40, 10, 2), (80, 10, 1), (80, 25, 3), (4096, 128, 2)],
    )
    def test_every_burst_is_short_beside_its_position(
        self, position: int, steps: int, bursts: int, monkeypatch: pytest.MonkeyPatch, timed_only: None
    ) -> None:
        one = subject()
        counted = Counted(one, monkeypatch)
        (seconds,) = [m for m in stream(one, position, steps=steps) if m.metric == "step_seconds"]
        assert len(seconds.samples) == steps
        assert counted.scanned == position - 1
        assert counted.stepped == 1 + 4 * bursts + steps  # the last of the prefix, and four untimed ones a burst

    @pytest.mark.parametrize(
        ("name", "streams", "chunks"),
        [
            ("transformer:backend=fused", 1, [2499]),
            ("transformer:backend=fused", 16, [2048, 451]),
            ("transformer:backend=reference", 1, [1024, 1024, 451]),
            ("rnn:backend=fused", 1, [1024, 1024, 451]),
        ],
    )
    def test_a_kernel_of_attention_reads_a_prefix_at_once_and_all_else_in_parts(
        self, name: str, streams: int, chunks: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, scanned = subject(name), []
        really = one.model.scan
        monkeypatch.setattr(one.model, "scan", lambda x, state: scanned.append(x.shape[1]) or really(x, state))
        with torch.inference_mode():
            streaming._state_at(one, 2500, streams)
        assert scanned == chunks

    def test_steps_that_a_copy_makes_dearer_are_not_timed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Short bursts hold more of them than long ones, and a flat cost would fall with the position."""
        one, clock, since_copied = subject(), CountingClock(tick=0), [0]
        take_up, step = ByHand.take_up, one.model.step

        def copied(self: ByHand, state: Any) -> None:
            since_copied[0] = 0
            take_up(self, state)

        def stepped(x: torch.Tensor, state: Any) -> Any:
            clock.now += (9_000, 8_000, 7_500, 7_100)[since_copied[0]] if since_copied[0] < 4 else 7_000
            since_copied[0] += 1
            return step(x, state)

        monkeypatch.setattr(ByHand, "take_up", copied)
        monkeypatch.setattr(one.model, "step", stepped)
        found = [m for m in stream(one, 1, 16, 64, 1024, clock=clock) if m.metric == "step_seconds"]
        assert [m.samples for m in found] == [(7e-06,) * 10] * 4

    def test_positions_that_a_model_cannot_read_are_left_out(self) -> None:
        one = subject("transformer:positions=learned,max_length=32")
        found = stream(one, 1, 24, 25, 64)
        # At 24 a burst of four follows four untimed steps: steps 25 to 32 are the last there are.
        assert [m.at["position"] for m in found if m.metric == "step_seconds"] == [1, 24]

    def test_a_state_is_never_shared_between_bursts(self, monkeypatch: pytest.MonkeyPatch, timed_only: None) -> None:
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
                stream(one, 16, steps=12)
            bursts = [outputs[1 + i : 9 + i] for i in range(0, 24, 8)]
            assert len(outputs) == 25
            for burst in bursts[1:]:
                for first, later in zip(bursts[0], burst, strict=True):
                    assert torch.equal(first, later), name
            assert not torch.equal(bursts[0][0], bursts[0][1])

    @pytest.mark.parametrize("name", arch.names())
    def test_no_step_is_given_the_memory_of_the_state_that_is_taken_up(
        self, name: str, monkeypatch: pytest.MonkeyPatch, timed_only: None
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
            streaming, "_time_steps", lambda place, *rest: kept.append(place.state) or timed(place, *rest)
        )
        stream(one, 16, steps=10)
        assert shared == [False] * (3 * 4 + 10)

    def test_the_state_is_the_one_of_that_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = subject("lstm", length=6)
        positions: list[Any] = []
        really = streaming._time_steps
        monkeypatch.setattr(
            streaming, "_time_steps", lambda place, *rest: positions.append(place.state) or really(place, *rest)
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
        one, seen = subject(), []
        really = one.model.step
        monkeypatch.setattr(one.model, "step", lambda x, state: seen.append(gc.isenabled()) or really(x, state))
        assert gc.isenabled()
        stream(one, 2)
        assert gc.isenabled()
        assert seen == [True] * 9 + [False] * (len(seen) - 9)  # the prefix and eight steps for memory come before
        monkeypatch.setattr(one.model, "step", lambda x, state: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stream(one, 2)
        assert gc.isenabled()

    def test_models_of_a_group_take_turns_in_every_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        group, turns = [subject(seed=seed) for seed in range(3)], []
        really = streaming._time_steps
        monkeypatch.setattr(
            streaming,
            "_time_steps",
            lambda place, *rest: turns.append((place.position, place.subject.case.seed)) or really(place, *rest),
        )
        timing = Timing(positions=(1, 4), steps=10, blocks=5, streams=())
        streaming.measure(group, timing, random.Random(1), CountingClock())
        assert [at for at, _ in turns] == [1] * 15 + [4] * 15
        orders = [tuple(seed for _, seed in turns[i : i + 3]) for i in range(0, 30, 3)]
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert len(set(orders[:5])) > 1 < len(set(orders[5:]))
