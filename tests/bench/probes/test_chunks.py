"""Tests of chunks: which form reads them, and what is timed."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

import arch
from bench.plans.plan import Timing
from bench.probes import chunks, streaming
from bench.probes.call_timing import time_calls
from bench.probes.chunks import Form, fastest_form, forms_of, time_chunks
from bench.probes.subject import Subject
from bench.probes.timed_stream import TimedStream, open_stream
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine
from tests.bench.tiny import subject

FLOAT32 = 1e-5
"""Absolute tolerance for float32 outputs near 1."""


def opened(one: Subject, position: int) -> TimedStream:
    with torch.inference_mode():
        return open_stream(one, position, 1)


def chosen(timed: TimedStream, seconds: list[list[float]], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the form that is chosen if the trial takes these seconds: by `scan`, by `stream` and by `step`."""
    trials = iter(seconds)
    monkeypatch.setattr(chunks, "time_chunks", lambda *_: next(trials))
    return fastest_form(timed, 8)


def test_the_form_with_the_fastest_trial_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = opened(subject(), 16)
    model = timed.subject.model
    assert chosen(timed, [[2.0, 1.0], [3.0, 1.5], [4.0]], monkeypatch) == Form(read=model.scan)
    assert chosen(timed, [[2.0, 1.0], [0.5, 9.0], [4.0]], monkeypatch) == Form(read=model.stream)
    assert chosen(timed, [[2.0], [3.0], [1.0]], monkeypatch).by_step


@pytest.mark.parametrize("name", arch.names())
def test_single_steps_give_the_outputs_of_scan(name: str) -> None:
    timed = opened(subject(name), 16)
    (steps,) = [form for form in forms_of(timed.subject.model) if form.by_step]
    x = timed.next_inputs(8)
    with torch.inference_mode():
        outputs, after = steps.read(steps.inputs(x), arch.copy_state(timed.state))
        y_BTO = torch.stack(outputs, 1)
        expected_BTO, expected_after = timed.subject.model.scan(x, arch.copy_state(timed.state))
        for state, y, expected in ((after, y_BTO, expected_BTO), (expected_after, expected_BTO, y_BTO)):
            torch.testing.assert_close(y, expected, rtol=0, atol=FLOAT32)
            assert timed.subject.model.scan(x, state)[0].shape == y.shape


def test_only_the_chunk_itself_is_timed() -> None:
    one, clock, states = subject(length=5), CountingClock(tick=0), []
    timed = opened(one, 16)
    inputs, calls = one.test_inputs(1, 5), []

    def form(x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        calls.append(x)
        states.append(state)
        clock.now += 1_000 * x.shape[1]
        return x, "carried"

    assert time_chunks(timed, Form(read=form), 8, 2, clock) == [8e-06] * 2
    assert [x.shape[1] for x in calls] == [4, 8, 4, 8, 4, 8]  # the first chunk is not timed
    assert torch.equal(torch.cat(calls[:2], 1), inputs[:, torch.arange(12) % 5])
    assert states[1] == states[3] == "carried" and states[0] is not states[2] is not timed.state


def test_the_first_chunk_of_a_size_is_not_timed() -> None:
    clock, seen = CountingClock(tick=0), set()

    def form(x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        clock.now += 1_000 if x.shape[1] in seen else 1_000_000  # such as room for packed weights
        seen.add(x.shape[1])
        return x, state

    assert time_chunks(opened(subject(), 16), Form(read=form), 8, 3, clock) == [1e-06] * 3


@pytest.mark.parametrize("name", arch.names())
def test_a_chunk_of_one_step_runs_what_a_called_step_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if is_timing:
                ran.append(function.__name__)
            return function(*args, **(kwargs or {}))

    ran: list[str] = []
    is_timing = False

    def clock() -> int:
        nonlocal is_timing
        is_timing = not is_timing
        return 0

    timed = opened(subject(name), 16)
    (steps,) = [form for form in forms_of(timed.subject.model) if form.by_step]
    with torch.inference_mode(), Recorder():
        time_calls(timed, 1, clock)
        called, ran = ran, []
        time_chunks(timed, steps, 1, 0, clock)
    assert called and ran == called


def test_chunks_are_timed_from_the_position_of_streams_if_the_model_can_read_them() -> None:
    one = subject("transformer:positions=learned,max_length=32")
    timing = Timing(positions=(1, 16), steps=60, blocks=3, streams=(), streams_position=16, chunks=(1, 12, 13, 16))
    (measurements,) = streaming.measure(
        [one], timing, random.Random(0), CountingClock(7_000), loaded_machine()
    ).values()
    timed = [each for each in measurements if each.metric == "chunk_seconds"]
    # After position 16 come four untimed steps and the chunk, and 32 is the maximum length.
    assert [each.at for each in timed] == [{"position": 16, "chunk": 1}, {"position": 16, "chunk": 12}]
    assert [(each.samples, each.blocks) for each in timed] == [((7e-06,) * 3, (LOADED_BLOCK,) * 3)] * 2


def test_default_chunks_are_not_longer_than_the_longest_position() -> None:
    assert Timing(positions=(1, 64)).timed_chunks == (1, 4, 16, 64)
    assert Timing(positions=(4096, 1)).timed_chunks == (1, 4, 16, 64, 256)
    assert Timing(positions=(8,), chunks=()).timed_chunks == ()
