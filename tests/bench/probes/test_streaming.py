"""Tests of `streaming`: calls from Python with a counting clock, states, sizes and turns.

The tests of steps in compiled code are in `test_loop_timing`. Expected sizes are computed by hand.
"""

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
from bench.probes import streaming, timed_stream
from bench.probes.stream import EagerStream
from bench.probes.subject import Subject
from results import Measurement
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine
from tests.bench.tiny import subject, weights_of

INTERPRETED = "rnn:backend=reference"


def stream(one: Subject, *positions: int, steps: int = 10, clock: CountingClock | None = None) -> list[Measurement]:
    timing = Timing(positions=positions, steps=steps, blocks=1, streams=(), chunks=())
    return streaming.measure([one], timing, random.Random(0), clock or CountingClock())[one.case.key]


@pytest.fixture
def timed_bursts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the untimed burst that measures memory, so that only prefixes and timed bursts run steps."""
    monkeypatch.setattr(streaming, "run_untimed_burst", lambda timed: None)


class Counted:
    """Numbers of steps that a model runs with `step` and with `scan`. Wrappers of both methods count the steps."""

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
    def test_samples_are_differences_of_clock_readings(self) -> None:
        measurements = stream(subject(INTERPRETED), 1, 16, clock=CountingClock(tick=7_000))
        seconds = [one for one in measurements if one.metric == "call_step_seconds"]
        assert [one.at for one in seconds] == [{"position": 1}, {"position": 16}]
        assert [one.samples for one in seconds] == [(7e-06,) * 10] * 2
        assert all(len(one.calibration_seconds) == 1 for one in seconds)

    def test_blocks_share_the_steps_and_record_the_noise_around_them(self) -> None:
        timing = Timing(positions=(4,), steps=10, blocks=3, streams=(1, 8), chunks=())
        clock = CountingClock(tick=7_000)
        (measurements,) = streaming.measure(
            [subject(INTERPRETED)], timing, random.Random(0), clock, loaded_machine()
        ).values()
        timed = {(one.metric, *one.at.values()): one for one in measurements if one.blocks}
        assert {place: len(one.samples) for place, one in timed.items()} == {
            ("call_step_seconds", 4): 12,  # ten steps, rounded up to three blocks of equal size
            ("call_stream_step_seconds", 128, 1): 3,
            ("call_stream_step_seconds", 128, 8): 3,
        }
        assert {one.blocks for one in timed.values()} == {(LOADED_BLOCK,) * 3}

    def test_single_stream_at_a_timed_position_is_timed_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        timed: list[tuple[int, int]] = []
        original = streaming.time_calls
        monkeypatch.setattr(
            streaming,
            "time_calls",
            lambda stream, *a, **k: timed.append((stream.position, stream.streams)) or original(stream, *a, **k),
        )
        timing = Timing(positions=(2, 9), steps=10, blocks=1, streams=(1, 8), streams_position=9, chunks=())
        (measurements,) = streaming.measure(
            [subject(INTERPRETED)], timing, random.Random(0), CountingClock(7_000)
        ).values()
        assert timed == [(2, 1), (9, 1), (9, 8)]
        single, batch = (m for m in measurements if m.metric == "call_stream_step_seconds")
        (position,) = (m for m in measurements if m.metric == "call_step_seconds" and m.at == {"position": 9})
        assert (single.at, batch.at) == ({"position": 9, "streams": 1}, {"position": 9, "streams": 8})
        assert (single.samples, single.blocks) == (position.samples, position.blocks)
        assert len(single.samples) == 10

    @pytest.mark.parametrize("streams", [1, 5])
    def test_streams_are_stepped_together_as_one_batch_of_different_sequences(
        self, streams: int, monkeypatch: pytest.MonkeyPatch, timed_bursts_only: None
    ) -> None:
        one, stepped = subject("gru:backend=reference", length=6), []
        original = one.model.step
        monkeypatch.setattr(one.model, "step", lambda x, state: stepped.append(x.clone()) or original(x, state))
        timing = Timing(positions=(2,), steps=10, blocks=1, streams=(streams,), streams_position=9, chunks=())
        streaming.measure([one], timing, random.Random(0), CountingClock())
        inputs = one.test_inputs(streams, 6)
        last = stepped[-7:]  # the last step of the prefix, four untimed steps and two timed ones
        assert [len(x) for x in last] == [streams] * 7
        for x, t in zip(last, (8 % 6, 0, 1, 2, 3, 4, 5), strict=True):
            assert torch.equal(x, inputs[:, t])

    def test_peak_memory_is_that_of_the_last_readable_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peaks = {1: 1000, 24: 3000, 16: 2000}
        reached: list[int] = []
        original = streaming.run_untimed_burst
        monkeypatch.setattr(
            streaming, "run_untimed_burst", lambda timed: reached.append(timed.position) or original(timed)
        )

        @contextlib.contextmanager
        def watched(device: torch.device) -> Iterator[Memory]:
            memory = Memory(before=100)
            yield memory
            memory.peak = peaks[reached[-1]]

        monkeypatch.setattr(streaming, "watch_memory", watched)
        one = subject("transformer:positions=learned,max_length=32")
        memory = {m.metric: m.samples for m in stream(one, 1, 24, 16, 64) if m.metric.startswith("streaming_")}
        assert reached == [24]
        assert memory == {"streaming_peak_bytes": (3000.0,), "streaming_added_bytes": (2900.0,)}

    def test_clock_overhead_is_measured_once(self) -> None:
        measurements = stream(subject(INTERPRETED), 1, 2, clock=CountingClock(tick=40))
        assert [one.samples for one in measurements if one.metric == "clock_seconds"] == [(4e-08,)]

    @pytest.mark.parametrize(
        ("position", "steps", "bursts"),
        [(1, 10, 3), (39, 10, 3), (40, 10, 2), (80, 10, 1), (80, 25, 3), (4096, 128, 2)],
    )
    def test_every_burst_is_short_compared_with_its_position(
        self, position: int, steps: int, bursts: int, monkeypatch: pytest.MonkeyPatch, timed_bursts_only: None
    ) -> None:
        one = subject(INTERPRETED)
        counted = Counted(one, monkeypatch)
        (seconds,) = [m for m in stream(one, position, steps=steps) if m.metric == "call_step_seconds"]
        assert len(seconds.samples) == steps
        assert counted.scanned == position - 1
        assert counted.stepped == 1 + 4 * bursts + steps  # last prefix step, four untimed steps per burst

    @pytest.mark.parametrize(
        ("name", "streams", "chunks"),
        [
            ("transformer:backend=fused", 1, [2499]),
            ("transformer:backend=fused", 16, [2048, 451]),
            ("transformer:backend=reference", 1, [1024, 1024, 451]),
            ("rnn:backend=fused", 1, [1024, 1024, 451]),
        ],
    )
    def test_fused_attention_scans_long_chunks_and_other_models_short_ones(
        self, name: str, streams: int, chunks: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, scanned = subject(name), []
        original = one.model.scan
        monkeypatch.setattr(one.model, "scan", lambda x, state: scanned.append(x.shape[1]) or original(x, state))
        with torch.inference_mode():
            timed_stream.state_at(one, 2500, streams)
        assert scanned == chunks

    def test_steps_that_are_slow_after_a_copy_are_not_timed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Check that all samples are equal although the first four steps after a copy are slow.

        Short bursts have a larger share of slow steps. If these were timed, a constant cost would seem to fall with the
        position.
        """
        one, clock, steps_since_copy = subject(INTERPRETED), CountingClock(tick=0), [0]
        original_restore, original_step = EagerStream.restore, one.model.step

        def restore(self: EagerStream, state: Any) -> None:
            steps_since_copy[0] = 0
            original_restore(self, state)

        def step(x: torch.Tensor, state: Any) -> Any:
            clock.now += (9_000, 8_000, 7_500, 7_100)[steps_since_copy[0]] if steps_since_copy[0] < 4 else 7_000
            steps_since_copy[0] += 1
            return original_step(x, state)

        monkeypatch.setattr(EagerStream, "restore", restore)
        monkeypatch.setattr(one.model, "step", step)
        seconds = [m for m in stream(one, 1, 16, 64, 1024, clock=clock) if m.metric == "call_step_seconds"]
        assert [m.samples for m in seconds] == [(7e-06,) * 10] * 4

    def test_positions_that_a_model_cannot_read_are_omitted(self) -> None:
        one = subject("transformer:positions=learned,max_length=32,backend=reference")
        measurements = stream(one, 1, 24, 25, 64)
        # After position 24 come four untimed and four timed steps, 25 to 32, and 32 is the maximum length.
        assert [m.at["position"] for m in measurements if m.metric == "call_step_seconds"] == [1, 24]

    def test_bursts_do_not_share_their_state(self, monkeypatch: pytest.MonkeyPatch, timed_bursts_only: None) -> None:
        """Check that all bursts give the same outputs, because each burst starts from the same state."""
        for name in arch.names():
            one = subject(f"{name}:backend=reference")
            original, outputs = one.model.step, []

            def step(x: torch.Tensor, state: Any, original: Any = original, outputs: Any = outputs) -> Any:
                y_BO, state = original(x, state)
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
    def test_steps_never_share_memory_with_the_restored_state(
        self, name: str, monkeypatch: pytest.MonkeyPatch, timed_bursts_only: None
    ) -> None:
        one = subject(f"{name}:backend=reference")
        restored: list[Any] = []
        shared: list[bool] = []
        original_time_calls, original_step = streaming.time_calls, one.model.step

        def memory(state: Any) -> set[int]:
            return {leaf.data_ptr() for leaf in tree_leaves(state) if isinstance(leaf, torch.Tensor)}

        def step(x: torch.Tensor, state: Any) -> Any:
            if restored:
                shared.append(bool(memory(state) & memory(restored[0])))
            return original_step(x, state)

        monkeypatch.setattr(one.model, "step", step)
        monkeypatch.setattr(
            streaming,
            "time_calls",
            lambda timed, *a, **k: restored.append(timed.state) or original_time_calls(timed, *a, **k),
        )
        stream(one, 16, steps=10)
        assert shared == [False] * (3 * 4 + 10)

    def test_state_is_that_of_the_position(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one = subject("lstm:backend=reference", length=6)
        states: list[Any] = []
        original = streaming.time_calls
        monkeypatch.setattr(
            streaming, "time_calls", lambda timed, *a, **k: states.append(timed.state) or original(timed, *a, **k)
        )
        stream(one, 1, 6, 15)
        inputs = one.test_inputs(1, 6)
        with torch.inference_mode():
            for position, timed_state in zip((1, 6, 15), states, strict=True):
                state = one.model.init_state(1)
                for i in range(position):
                    _, state = one.model.step(inputs[:, i % 6], state)
                for layer, expected in zip(timed_state, state, strict=True):
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
            ("transformer:heads=1", 9, 2 * 2 * 16 * 4 * 4),  # space for sixteen steps, because eight are full
            ("transformer:heads=2", 1000, 2 * 2 * 1024 * 4 * 4),
        ],
    )
    def test_state_bytes_equal_sizes_computed_by_hand(self, name: str, position: int, expected: int) -> None:
        measurements = stream(subject(name), position)
        assert [m.samples for m in measurements if m.metric == "state_bytes"] == [(float(expected),)]

    def test_recurrent_state_is_constant_and_a_cache_grows(self) -> None:
        sizes = {
            name: [m.samples[0] for m in stream(subject(name), 1, 64, 1024) if m.metric == "state_bytes"]
            for name in ("gru", "transformer")
        }
        assert len(set(sizes["gru"])) == 1
        assert sizes["transformer"][0] < sizes["transformer"][1] < sizes["transformer"][2]

    @pytest.mark.parametrize("name", arch.names())
    def test_model_is_unchanged(self, name: str) -> None:
        one = subject(name)
        before = weights_of(one)
        stream(one, 1, 16)
        assert all(torch.equal(a, b) for a, b in zip(before, weights_of(one), strict=True))

    def test_garbage_collector_is_restored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        one, enabled = subject(INTERPRETED), []
        original = one.model.step
        monkeypatch.setattr(one.model, "step", lambda x, state: enabled.append(gc.isenabled()) or original(x, state))
        assert gc.isenabled()
        stream(one, 2)
        assert gc.isenabled()
        # One step of the prefix and eight untimed steps come first.
        assert enabled == [True] * 9 + [False] * (len(enabled) - 9)
        monkeypatch.setattr(one.model, "step", lambda x, state: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stream(one, 2)
        assert gc.isenabled()

    def test_models_of_a_group_are_interleaved_in_random_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        group, turns = [subject(INTERPRETED, seed=seed) for seed in range(3)], []
        original = streaming.time_calls
        monkeypatch.setattr(
            streaming,
            "time_calls",
            lambda timed, *a, **k: turns.append((timed.position, timed.subject.case.seed)) or original(timed, *a, **k),
        )
        timing = Timing(positions=(1, 4), steps=10, blocks=5, streams=(), chunks=())
        streaming.measure(group, timing, random.Random(1), CountingClock())
        assert [position for position, _ in turns] == [1] * 15 + [4] * 15
        orders = [tuple(seed for _, seed in turns[i : i + 3]) for i in range(0, 30, 3)]
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert len(set(orders[:5])) > 1 < len(set(orders[5:]))


@arch.CompiledCell(gates=2, states=1)
def two_gates(sums: Any, state: Any) -> Any:
    return (sums[0] + sums[1],)


class OneGate(arch.RecurrentLayer):
    """A layer whose compiled cell does not fit its weights."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width, self.backend = width, "auto"
        self.W_HD = torch.nn.Parameter(torch.ones(width, inputs))

    def init_state(self, batch: int) -> torch.Tensor:
        return self.empty(batch, self.width)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.W_HD)

    def update(self, projected_BG: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return projected_BG, projected_BG

    def streaming_spec(self) -> Any:
        return two_gates.spec(self, W="W_HD", state=torch.Tensor)


@pytest.mark.parametrize("block", ["", ":block=residual"])
def test_record_says_why_a_compiled_cell_is_not_used(block: str) -> None:
    arch.add("one_gate", OneGate)
    try:
        one = subject("one_gate" + block)
        reason = streaming.limitation(one, Timing(positions=(1,), streams=(), chunks=()), stream(one, 1))
    finally:
        arch.remove("one_gate")
    assert reason is not None and "the compiled cell is not used: W_HD: the kernel needs" in reason
