"""Streams stepped by hand and replayed: both give the same numbers, and what cannot be replayed is stepped by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

import arch
from bench.probes import Subject
from bench.probes.stream import ByHand, Replayed, stream_of
from tests.bench.tiny import subject

RECURRENT = ["rnn", "lstm", "gru"]


def recorded(call: Callable[[], None]) -> Callable[[], object]:
    """In place of a graph: does the call once while it is recorded, as the device does, and again at each replay."""
    call()
    return call


def forgetful(call: Callable[[], None]) -> Callable[[], object]:
    """A recording that does nothing when it is replayed."""
    call()
    return lambda: None


def refusing(call: Callable[[], None]) -> Callable[[], object]:
    raise RuntimeError("operation not permitted when stream is capturing")


def begun(name: str, T: int = 6) -> tuple[Subject, torch.Tensor, Any]:
    one = subject(name, length=T)
    inputs = one.test_inputs(3, T)
    with torch.inference_mode():
        return one, inputs, one.model.scan(inputs[:, :2], one.model.init_state(3))[1]


@pytest.mark.parametrize("name", RECURRENT)
def test_a_replayed_stream_goes_through_the_states_of_one_by_hand(name: str) -> None:
    one, inputs, state = begun(name)
    with torch.inference_mode():
        replayed = stream_of(one.model, inputs[:, 0], state, recorded)
        assert isinstance(replayed, Replayed)
        for _ in range(2):  # taken up twice from one state
            replayed.take_up(state)
            expected = arch.copy_state(state)
            for t in range(2, 6):
                replayed.step(inputs[:, t])
                y_BO, expected = one.model.step(inputs[:, t], expected)
                torch.testing.assert_close(replayed.y_BO, y_BO, rtol=0, atol=0)
            for ours, theirs in zip(replayed._leaves, tree_leaves(expected), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("name", RECURRENT)
def test_recording_and_replaying_leave_the_state_that_is_taken_up_alone(name: str) -> None:
    one, inputs, state = begun(name)
    before = [leaf.clone() for leaf in tree_leaves(state)]
    with torch.inference_mode():
        stream = stream_of(one.model, inputs[:, 0], state, recorded)
        stream.take_up(state)
        stream.step(inputs[:, 3])
    assert all(torch.equal(a, b) for a, b in zip(before, tree_leaves(state), strict=True))


@pytest.mark.parametrize(
    ("name", "capture"),
    [
        ("transformer", recorded),  # its cache grows and counts
        ("transformer:window=2", recorded),
        ("lstm", forgetful),  # recorded wrongly: its state does not move
        ("lstm", refusing),
        ("lstm", None),  # no GPU, nothing to record with
    ],
)
def test_what_does_not_hold_is_stepped_by_hand(name: str, capture: Any) -> None:
    one, inputs, state = begun(name)
    with torch.inference_mode():
        stream = stream_of(one.model, inputs[:, 0], state, capture)
        assert isinstance(stream, ByHand)
        stream.take_up(state)
        stream.step(inputs[:, 3])


def test_a_mistake_of_our_own_is_not_swallowed() -> None:
    one, inputs, state = begun("lstm")

    def broken(call: Callable[[], None]) -> Callable[[], object]:
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        stream_of(one.model, inputs[:, 0], state, broken)
