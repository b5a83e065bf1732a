"""The description of a layer for the compiled streaming kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from arch.core.backend import Weight
from arch.kernels.runtime.tensors import tensor_obstacle

if TYPE_CHECKING:
    from arch.core.state import State


class CompiledStep(Protocol):
    """A compiled function that computes one step of a layer."""

    @property
    def address(self) -> int:
        """Address of the function."""

    @property
    def obstacle(self) -> str | None:
        """Why the function cannot be compiled; None if it can."""


class Bound(NamedTuple):
    """A layer's state, prepared for some steps of the kernel."""

    words: tuple[int, ...]
    """Addresses and sizes, in the order that the kernel expects."""
    after: State
    """The state after the steps."""
    written: tuple[Tensor, ...]
    """The tensors that the kernel writes."""
    steps_left: int = sys.maxsize
    """Number of further steps for which the words remain valid. The kernel updates the words that count steps."""
    advance: Callable[[State, int], State] | None = None
    """Function that returns the state after so many further steps, if that is another object; else None."""
    scratch: int = 0
    """Scratch memory that these steps need in addition to the workspace, in floats."""
    outer_words: tuple[int, ...] = ()
    """Addresses of the state of the part before the layer, see `StreamingSpec.before`."""


class CellCosts(NamedTuple):
    """The closed-form costs of a layer with a compiled cell, by the convention of `arch.core.layer`."""

    project_flops: int
    """FLOPs of W x per step and stream."""
    update_flops: int
    """FLOPs of U h per step and stream."""
    step_numbers: int
    """Numbers that a step moves: all weights once, and each part of the state twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSpec:
    """Description of one layer for `arch.kernels.streaming.model_step`."""

    kind: Literal["rnn_tanh", "rnn_relu", "lstm", "gru", "gru_before", "transformer", "cell", "enter", "leave"]
    inputs: int
    """D, the input width."""
    outputs: int
    """H, the output width."""
    sizes: tuple[int, ...]
    """Sizes and flags, in the order that the kernel of this kind expects. The first is D, the input width."""
    weights: tuple[Weight | None, ...]
    """Weights in the kernel's order. None stands for a weight that the layer does not have, such as a bias."""
    workspace: int
    """Scratch memory per stream, in floats."""
    bind: Callable[[State, int, bool, int], Bound | None]
    """Function that prepares a state for successive steps.

    Its arguments are the state, the number of streams, whether the tensors of the state are known to be as the kernel
    needs them, and the number of steps. It returns None if the kernel cannot use the state.
    """
    modules: tuple[tuple[nn.Module, tuple[type[nn.Module], ...]], ...] = ()
    """The submodules that the kernel replaces, each with the classes that it may have."""
    constants: Tensor | None = None
    """Numbers that the kernel reads after the weights, or None."""
    cell: CompiledStep | None = None
    """The compiled function of a layer of the kind `cell`. Other kinds have None."""
    before: tuple[StreamingSpec, ...] = ()
    """The part of a block that runs before the layer. Only its kind, widths, sizes, weights and workspace count."""
    after: tuple[StreamingSpec, ...] = ()
    """The part of a block that runs after the layer."""
    costs: CellCosts | None = None
    """The costs of a layer of the kind `cell`. Other layers state their costs themselves, and have None."""
    state_obstacle: Callable[[State, int], str | None] | None = None
    """Function from a state and the number of streams to the reason why a layer of the kind `cell` cannot use it."""
    wrapped: nn.Module | None = None
    """The layer inside the block, or None if there is no block."""

    @property
    def records(self) -> tuple[StreamingSpec, ...]:
        """The parts that the kernel runs, in order."""
        return (*self.before, self, *self.after)


def bind_tensors(state: Any, kind: type[Any], batch: int, width: int | Sequence[tuple[int, ...]]) -> Bound | None:
    """Prepare a named tuple of tensors, which the kernel updates in place.

    The kernel writes only to its own memory, so the tensors are copied.

    Args:
        state: The state.
        kind: The class that the state must have.
        batch: Number of streams, B.
        width: Width H of tensors (B, H), or the shape of each tensor without B. A part that the layer does not have is
            None and has no shape.

    Returns None if the kernel cannot use a tensor.
    """
    if type(state) is not kind:
        return None
    parts: tuple[Tensor, ...] = tuple(part for part in state if part is not None)
    shapes = [(width,)] * len(parts) if isinstance(width, int) else width
    if len(parts) != len(shapes) or any(
        tensor_obstacle(part, (batch, *shape)) is not None for part, shape in zip(parts, shapes, strict=True)
    ):
        return None
    own = tuple(part.detach().clone(memory_format=torch.contiguous_format) for part in parts)
    return Bound(tuple(part.data_ptr() for part in own), kind(*own), own)
