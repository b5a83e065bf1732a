"""The description of a layer for the compiled streaming kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from arch.core.state import State

ParameterRef = tuple[nn.Module, str]
"""A parameter or buffer, given by its module and attribute name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSpec:
    """Description of one layer for `arch.kernels.streaming.model_step`."""

    kind: Literal["rnn", "lstm", "gru", "transformer"]
    sizes: tuple[int, ...]
    """Sizes and flags, in the order that the kernel of this kind expects. The first is D, the input width."""
    weights: tuple[ParameterRef | None, ...]
    """Weights in the kernel's order. None stands for a weight that the layer does not have, such as a bias."""
    workspace: int
    """Scratch memory per stream, in floats."""
    bind: Callable[[State, int], tuple[tuple[int, ...], State] | None]
    """Function that prepares a state for one step. Its arguments are the state and the number of streams.

    It returns the addresses and sizes for the kernel, and the state after the step. It returns None if the kernel
    cannot use the state.
    """


def bind_tensors(state: Any, batch: int, width: int) -> tuple[tuple[int, ...], State] | None:
    """Return the addresses of the (B, H) tensors in a state, and the state itself. See `StreamingSpec.bind`.

    The state after the step is the same object, because the step updates it in place. B is `batch`, and H is `width`.
    Returns None if the kernel cannot use a tensor.
    """
    addresses = []
    for part in state:
        if part.dtype is not torch.float32 or part.requires_grad or not part.is_contiguous() or not part.is_cpu:
            return None
        if part.shape != (batch, width):
            return None
        addresses.append(part.data_ptr())
    return tuple(addresses), state
