"""A stream of steps that can start from the same state many times, run eagerly or as a CUDA graph.

On a GPU, a step of a small model spends most of its time on launching kernels one by one. A CUDA graph launches all
kernels together. A graph replays operations on fixed addresses and runs no Python code. Every tensor of the state must
therefore keep its shape. A cache that grows and a state that counts its steps in Python cannot be replayed. `stream_of`
tries to record a graph, and compares one replayed step with an eager step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch

REPLAY_TOLERANCE = 1e-3
"""Largest allowed float32 difference between a replayed and an eager step. The difference of a tensor is relative to
its largest magnitude in the eager step (at least 1)."""
WARM_UP_STEPS = 3
"""Number of eager steps before a graph is recorded. Libraries initialise themselves in these steps, because a graph
cannot record the initialisation."""

Capture = Callable[[Callable[[], None]], Callable[[], object]]
"""Function that records a call and returns a function to replay it."""


class Stream(Protocol):
    """Successive steps of one model from a given state."""

    def restore(self, state: arch.State) -> None:
        """Make the next step continue from a copy of `state`."""

    def step(self, x: Tensor) -> None:
        """Advance by one step with the input `x`, (B,) or (B, D)."""


class EagerStream:
    """A stream that calls the model's `step`."""

    def __init__(self, model: arch.SequenceModel) -> None:
        self._model = model
        self._state: arch.State = None
        self._restored: arch.State = None

    def restore(self, state: arch.State) -> None:
        if state is not self._restored:  # flattening a state takes as long as copying it
            self._leaves, self._structure = pytree.tree_flatten(state)
            self._restored = state
        copies = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        self._state = pytree.tree_unflatten(copies, self._structure)

    def step(self, x: Tensor) -> None:
        _, self._state = self._model.step(x, self._state)


class GraphStream:
    """A stream that replays a recorded step.

    Args:
        model: the model to step.
        x: an input of one step, (B,) or (B, D).
        state: the state from which the step is recorded; it is not modified.
        capture: records the step, and returns a function that replays the step.

    Raises:
        ValueError: if the state contains anything but tensors, or if a tensor changes its shape in a step.
    """

    def __init__(self, model: arch.SequenceModel, x: Tensor, state: arch.State, capture: Capture) -> None:
        leaves, structure = pytree.tree_flatten(arch.copy_state(state))
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise ValueError("a state that contains plain numbers cannot be replayed")
        self._x, self._leaves = x.clone(), leaves

        def step() -> None:
            y_BO, next_state = model.step(self._x, pytree.tree_unflatten(leaves, structure))
            self.y_BO = y_BO
            for leaf, next_leaf in zip(leaves, pytree.tree_leaves(next_state), strict=True):
                if leaf.shape != next_leaf.shape:
                    raise ValueError("a state that grows cannot be replayed")
                leaf.copy_(next_leaf)

        self._replay = capture(step)

    def restore(self, state: arch.State) -> None:
        for leaf, restored in zip(self._leaves, pytree.tree_leaves(state), strict=True):
            leaf.copy_(restored)

    def step(self, x: Tensor) -> None:
        self._x.copy_(x)
        self._replay()

    def agrees(self, model: arch.SequenceModel, x: Tensor, state: arch.State) -> bool:
        """Return whether a replayed step gives the output and the state of an eager step, up to `REPLAY_TOLERANCE`.

        Both steps start from `state`, which is not modified. Call `restore` before this stream is used again.
        """
        y_BO, next_state = model.step(x, arch.copy_state(state))
        self.restore(state)
        self.step(x)
        return all(
            bool((replayed - eager).abs().max() <= REPLAY_TOLERANCE * eager.abs().max().clamp_min(1))
            for replayed, eager in zip((self.y_BO, *self._leaves), (y_BO, *pytree.tree_leaves(next_state)), strict=True)
        )


def stream_of(model: arch.SequenceModel, x: Tensor, state: arch.State, capture: Capture | None = None) -> Stream:
    """Return a `GraphStream` if a step can be recorded and replayed correctly, else an `EagerStream`.

    Call `restore` before the first step of the stream.

    Args:
        model: the model to step.
        x: an input of one step, (B,) or (B, D).
        state: a state from which to try a step; it is not modified.
        capture: records a step; None for `cuda_graph` on a GPU and for eager steps on a CPU.
    """
    if capture is None and x.device.type == "cuda":
        capture = cuda_graph
    if capture is not None:
        try:
            stream = GraphStream(model, x, state, capture)
            if stream.agrees(model, x, state):
                return stream
        except (RuntimeError, ValueError):
            pass  # the step cannot be recorded
    return EagerStream(model)


def cuda_graph(call: Callable[[], None]) -> Callable[[], object]:
    """Record a call as a CUDA graph, and return a function that replays the graph.

    Before the recording, the call runs `WARM_UP_STEPS` times.
    """
    side_stream = torch.cuda.Stream()
    side_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side_stream):
        for _ in range(WARM_UP_STEPS):
            call()
    torch.cuda.current_stream().wait_stream(side_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
