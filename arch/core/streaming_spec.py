"""What a layer declares so that its step can run in the compiled streaming program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from arch.core.state import State

Place = tuple[nn.Module, str] | None
"""A parameter or buffer by its owner and name; None where the equations have none there."""


@dataclass(frozen=True, slots=True)
class StreamingSpec:
    """How one layer is told to the kernel. `bind` gives the addresses of a state that was made ready for one more
    step, and the state after that step; None where the kernel cannot take it."""

    kind: Literal["rnn", "lstm", "gru", "transformer"]
    numbers: tuple[int, ...]
    weights: tuple[Place, ...]
    room: int
    """Working memory for each stream, in numbers."""
    bind: Callable[[State, int], tuple[tuple[int, ...], State] | None]


def bind_tensors(state: Any, batch: int, width: int) -> tuple[tuple[int, ...], State] | None:
    """`Streamed.bind` of a state of (B, H) tensors, which the step writes over."""
    addresses = []
    for part in state:
        if part.dtype is not torch.float32 or part.requires_grad or not part.is_contiguous() or not part.is_cpu:
            return None
        if part.shape != (batch, width):
            return None
        addresses.append(part.data_ptr())
    return tuple(addresses), state
