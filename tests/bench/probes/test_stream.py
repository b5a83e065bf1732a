"""Tests that eager and replayed streams give the same numbers, and that eager steps are the fallback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
from bench.probes.stream import EagerStream, GraphStream, stream_of
from bench.probes.subject import Subject
from tests.bench.tiny import subject

RECURRENT = ["rnn", "lstm", "gru"]


def record(call: Callable[[], None]) -> Callable[[], object]:
    """Simulate a CUDA graph: run the call once during the recording and once per replay."""
    call()
    return call


def record_nothing(call: Callable[[], None]) -> Callable[[], object]:
    """Simulate a broken CUDA graph whose replay does nothing."""
    call()
    return lambda: None


def fail_to_record(call: Callable[[], None]) -> Callable[[], object]:
    raise RuntimeError("operation not permitted when stream is capturing")


def start(name: str, T: int = 6) -> tuple[Subject, torch.Tensor, Any]:
    one = subject(name, length=T)
    inputs = one.test_inputs(3, T)
    with torch.inference_mode():
        return one, inputs, one.model.scan(inputs[:, :2], one.model.init_state(3))[1]


@pytest.mark.parametrize("name", RECURRENT)
def test_replayed_stream_equals_eager_steps(name: str) -> None:
    one, inputs, state = start(name)
    with torch.inference_mode():
        replayed = stream_of(one.model, inputs[:, 0], state, record)
        assert isinstance(replayed, GraphStream)
        for _ in range(2):  # restored twice from one state
            replayed.restore(state)
            expected = arch.copy_state(state)
            for t in range(2, 6):
                replayed.step(inputs[:, t])
                y_BO, expected = one.model.step(inputs[:, t], expected)
                torch.testing.assert_close(replayed.y_BO, y_BO, rtol=0, atol=0)
            for leaf, expected_leaf in zip(replayed._leaves, tree_leaves(expected), strict=True):
                torch.testing.assert_close(leaf, expected_leaf, rtol=0, atol=0)


@pytest.mark.parametrize("name", RECURRENT)
def test_recording_and_replaying_do_not_modify_the_restored_state(name: str) -> None:
    one, inputs, state = start(name)
    before = [leaf.clone() for leaf in tree_leaves(state)]
    with torch.inference_mode():
        stream = stream_of(one.model, inputs[:, 0], state, record)
        stream.restore(state)
        stream.step(inputs[:, 3])
    assert all(torch.equal(a, b) for a, b in zip(before, tree_leaves(state), strict=True))


@pytest.mark.parametrize(
    ("name", "capture"),
    [
        ("transformer", record),  # its cache grows and counts steps
        ("transformer:window=2", record),
        ("lstm", record_nothing),  # replayed steps differ from eager ones
        ("lstm", fail_to_record),
        ("lstm", None),  # no GPU to record on
    ],
)
def test_steps_that_cannot_be_replayed_run_eagerly(name: str, capture: Any) -> None:
    one, inputs, state = start(name)
    with torch.inference_mode():
        stream = stream_of(one.model, inputs[:, 0], state, capture)
        assert isinstance(stream, EagerStream)
        stream.restore(state)
        stream.step(inputs[:, 3])


def test_programming_errors_are_not_swallowed() -> None:
    one, inputs, state = start("lstm")

    def broken(call: Callable[[], None]) -> Callable[[], object]:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        stream_of(one.model, inputs[:, 0], state, broken)
