"""A stream that can be taken up at one state again and again, and that is stepped by hand or as a recorded graph.

On a GPU a step of a small model is spent on launching its kernels one by one. A CUDA graph launches them all at once.
It replays fixed addresses and nothing of Python, so it holds only where a state is tensors of one shape for ever:
not for a cache that grows, nor for a state that counts its steps. Whether it holds is tried, and its result compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch

AGREES = 1e-3
"""Largest difference of a replayed step from one by hand, relative to the largest number (at least 1), in float32."""
WARM_UPS = 3
"""Steps before a graph is recorded: libraries set themselves up in the first ones, which cannot be recorded."""

Capture = Callable[[Callable[[], None]], Callable[[], object]]
"""Records what a call does, and gives what does it again."""


class Stream(Protocol):
    """A running stream."""

    def take_up(self, state: arch.State) -> None:
        """Go on from a copy of `state`."""

    def step(self, x: Tensor) -> None:
        """One step further."""


class ByHand:
    """Calls the model's step."""

    def __init__(self, model: arch.SequenceModel) -> None:
        self._model = model
        self._state: arch.State = None
        self._taken: arch.State = None

    def take_up(self, state: arch.State) -> None:
        if state is not self._taken:  # to take it apart costs as much as to copy it
            self._leaves, self._form = pytree.tree_flatten(state)
            self._taken = state
        copied = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        self._state = pytree.tree_unflatten(copied, self._form)

    def step(self, x: Tensor) -> None:
        _, self._state = self._model.step(x, self._state)


class Replayed:
    """Replays a recorded step. Raises `ValueError` where the state is not tensors that keep their shapes."""

    def __init__(self, model: arch.SequenceModel, x: Tensor, state: arch.State, capture: Capture) -> None:
        leaves, form = pytree.tree_flatten(arch.copy_state(state))
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise ValueError("a state that holds plain numbers cannot be replayed")
        self._x, self._leaves = x.clone(), leaves

        def step() -> None:
            y_BO, after = model.step(self._x, pytree.tree_unflatten(leaves, form))
            self.y_BO = y_BO
            for leaf, changed in zip(leaves, pytree.tree_leaves(after), strict=True):
                if leaf.shape != changed.shape:
                    raise ValueError("a state that grows cannot be replayed")
                leaf.copy_(changed)

        self._replay = capture(step)

    def take_up(self, state: arch.State) -> None:
        for leaf, taken in zip(self._leaves, pytree.tree_leaves(state), strict=True):
            leaf.copy_(taken)

    def step(self, x: Tensor) -> None:
        self._x.copy_(x)
        self._replay()

    def agrees(self, model: arch.SequenceModel, x: Tensor, state: arch.State) -> bool:
        """Whether a replayed step gives the output and the state of one by hand."""
        y_BO, after = model.step(x, arch.copy_state(state))
        self.take_up(state)
        self.step(x)
        return all(
            bool((ours - theirs).abs().max() <= AGREES * theirs.abs().max().clamp_min(1))
            for ours, theirs in zip((self.y_BO, *self._leaves), (y_BO, *pytree.tree_leaves(after)), strict=True)
        )


def stream_of(model: arch.SequenceModel, x: Tensor, state: arch.State, capture: Capture | None = None) -> Stream:
    """The quickest stream that holds for this model: a replayed one on a GPU, else one by hand.

    `capture` records a step; without it a CUDA graph does, where the model is on such a device.
    """
    if capture is None and x.device.type == "cuda":
        capture = cuda_graph
    if capture is not None:
        try:
            replayed = Replayed(model, x, state, capture)
            if replayed.agrees(model, x, state):
                return replayed
        except (RuntimeError, ValueError):
            pass  # what cannot be recorded is stepped by hand
    return ByHand(model)


def cuda_graph(call: Callable[[], None]) -> Callable[[], object]:
    """Record a call as a CUDA graph. Returns a function that replays it."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
