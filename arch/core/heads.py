"""Layers of heads with a matrix memory each: what these architectures share around `arch.core.matrix_memory`.

    c_t = b + Σ_k w_k ⊙ x_(t-3+k)                    (1)  short convolution: one filter per channel
    n   = g ⊙ (y - μ) / √(σ² + ε) + o                (2)  group norm per head: mean μ and variance σ² of its V numbers
    n   = g ⊙ y / √(mean(y²) + ε)                    (3)  RMS norm per head (Zhang & Sennrich 2019)

Inputs before the first step are zero. Their last three are part of the state.
"""

# Shape suffixes: B batch, T time, L taps of the convolution, D input width, H width, C channels, N heads, V value width

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from arch.core.backend import Weight, context_obstacle, weights_obstacle
from arch.core.layer import CONV_STEPS, Layer
from arch.core.scan_layer import ScanLayer
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors
from arch.kernels.runtime.tensors import NORM_EPSILON, tensor_obstacle


class HeadLayer(ScanLayer):
    """A layer of heads with a matrix memory each.

    All parameters belong to the layer itself, not to submodules, so that a compiled step can read them. `scan` passes
    `backend` on to `arch.core.matrix_memory.scan`.
    """

    heads: int
    """N, the number of heads."""
    input_width: int
    """D, the input width."""

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.input_width

    @abstractmethod
    def project_flops(self) -> int:
        """Return the FLOPs of the products of weights with the layer's input, per step and stream."""

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        inputs = 0 if inputs_learn else self.project_flops()
        return batch * length * (2 * self.flops_per_step() - inputs)

    def step_bytes(self, position: int) -> int:
        weights = sum(tensor.numel() for tensor in (*self.parameters(), *self.buffers()))
        parts = pytree.tree_leaves(self.init_state(1))
        state = sum(part.numel() for part in parts if isinstance(part, Tensor))
        return (weights + 2 * state) * element_bytes(self)

    def head_spec(
        self,
        load: Callable[[], Any],
        *,
        sizes: tuple[int, ...],
        weights: tuple[Weight | None, ...],
        state: type[Any],
        shapes: Iterable[tuple[int, ...] | None],
        workspace: int,
    ) -> StreamingSpec:
        """Return the description of the layer for `Layer.streaming_spec`.

        Args:
            load: Function that imports the compiled step and returns it.
            sizes: Sizes that the step reads, D and H first.
            weights: Weights that the step reads.
            state: The named tuple class of the state.
            shapes: Shape of each part of the state, without the batch; None for a part that the layer does not have.
            workspace: Scratch memory per stream, in floats.
        """
        from arch.kernels.streaming.record import LayerStep

        present = [shape for shape in shapes if shape is not None]
        return StreamingSpec(
            kind="cell",
            inputs=self.inputs,
            outputs=self.width,
            sizes=sizes,
            weights=weights,
            workspace=workspace,
            bind=lambda part, batch, *_: bind_tensors(part, state, batch, present),
            cell=LayerStep(load),
        )

    def backend_for(self, x_BTD: Tensor, state: State | None = None) -> Literal["reference", "fused"]:
        """Return the implementation of the recurrence in `scan`. Inputs and parameters decide, and not the state.

        Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
        """
        if self.backend == "reference" or x_BTD.numel() == 0 or (self.backend == "auto" and x_BTD.shape[1] == 1):
            return "reference"
        obstacle = (
            context_obstacle()
            or weights_obstacle(self.kernel_weights())
            or tensor_obstacle(x_BTD, (*x_BTD.shape[:2], self.inputs))
        )
        if obstacle is not None and self.backend == "fused":
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        return "reference" if obstacle is not None else "fused"


def require_heads(width: int, heads: int, multiple: int) -> None:
    """Raise `ValueError` if a width does not fit the number of heads.

    Args:
        width: Width H of the layer.
        heads: Number of heads N.
        multiple: The width must be a multiple of this number, which follows from N.
    """
    if heads < 1:
        raise ValueError(f"heads must be at least 1, not {heads}")
    if width % multiple:
        below = max(width // multiple, 1) * multiple
        raise ValueError(
            f"width {width} is not a multiple of {multiple}, as required by {heads} heads; "
            f"try width {below} or {below + multiple}"
        )


def uniform(rows: int, columns: int) -> nn.Parameter:
    """Return weights (rows, columns) uniform in ±1/√columns, as those of `torch.nn.Linear`."""
    bound = 1 / math.sqrt(columns)
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


def uniform_filters(channels: int) -> nn.Parameter:
    """Return filters (L, C) uniform in ±1/√L, as those of `torch.nn.Conv1d` with one channel per group."""
    bound = 1 / math.sqrt(CONV_STEPS)
    return nn.Parameter(torch.empty(CONV_STEPS, channels).uniform_(-bound, bound))


def empty_inputs(layer: Layer, batch: int, channels: int) -> Tensor:
    """Return the inputs (B, 3, C) of a short convolution before the first step."""
    return layer.empty(batch, CONV_STEPS - 1, channels)


def short_convolution(x_BTC: Tensor, before_BLC: Tensor, w_LC: Tensor, b_C: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the convolution (1) of T steps, (B, T, C), and its last three inputs, (B, 3, C).

    Args:
        x_BTC: Inputs.
        before_BLC: The last three inputs before them, oldest first.
        w_LC: Filters.
        b_C: Bias, or None.
    """
    T, seen_BTC = x_BTC.shape[1], torch.cat([before_BLC, x_BTC], 1)
    c_BTC = w_LC[0] * seen_BTC[:, :T] if b_C is None else torch.addcmul(b_C, w_LC[0], seen_BTC[:, :T])
    for k in range(1, CONV_STEPS):
        c_BTC = torch.addcmul(c_BTC, w_LC[k], seen_BTC[:, k : k + T])  # (1)
    return c_BTC, seen_BTC[:, T:].clone(memory_format=torch.contiguous_format)


def convolution_flops(channels: int) -> int:
    """Return the FLOPs of (1) per step."""
    return 2 * CONV_STEPS * channels


def group_norm(y_BTNV: Tensor, gain_C: Tensor, offset_C: Tensor, epsilon: float = NORM_EPSILON) -> Tensor:
    """Return the group norm (2) of each head, as (B, T, C) with C = N V. `gain_C` and `offset_C` are g and o."""
    n_BTNV = functional.layer_norm(y_BTNV, y_BTNV.shape[-1:], eps=epsilon)
    return torch.addcmul(offset_C, n_BTNV.flatten(2), gain_C)


def rms_norm(y_BTNV: Tensor, gain_V: Tensor, epsilon: float = NORM_EPSILON) -> Tensor:
    """Return the RMS norm (3) of each head, (B, T, N, V). All heads share the gain g."""
    return functional.rms_norm(y_BTNV, y_BTNV.shape[-1:], gain_V, epsilon)
