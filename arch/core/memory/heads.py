"""Layers of heads with a matrix memory each: what these architectures share around `arch.core.matrix_memory`.

    n = g ⊙ (y - μ) / √(σ² + ε) + o      (1)  group norm per head: mean μ and variance σ² of its V numbers
    n = g ⊙ y / √(mean(y²) + ε)          (2)  RMS norm per head (Zhang & Sennrich 2019)

ε is `NORM_EPSILON`, or a multiple of it.
"""

# Shape suffixes: B batch, T time, D input width, H width, C channels, N heads, V value width

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from arch.core.backend import Backend, Weight, context_obstacle, is_fused, weights_obstacle
from arch.core.layer import Layer
from arch.core.scan_layer import ScanLayer
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors
from arch.kernels.runtime.tensors import CONV_STEPS, NORM_EPSILON, tensor_obstacle

Gate = Literal["silu", "sigmoid"]
GATES: dict[Gate, Callable[[Tensor], Tensor]] = {"silu": functional.silu, "sigmoid": torch.sigmoid}
"""The functions of a gate of `gated_norm`."""


class HeadLayer(ScanLayer):
    """A layer of heads with a matrix memory each.

    All parameters belong to the layer itself, not to submodules, so that a compiled step can read them. `scan` passes
    `backend` on to `arch.core.matrix_memory.scan`.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N.
        multiple: The width must be a multiple of this number, which follows from N.
        backend: Implementation of `scan` and of a model's `step`.

    Raises `ValueError` if the width does not fit the heads.
    """

    def __init__(self, inputs: int, width: int, *, heads: int, multiple: int, backend: Backend) -> None:
        super().__init__()
        require_heads(width, heads, multiple)
        self.input_width, self.width, self.heads, self.backend = inputs, width, heads, backend

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


def convolution_flops(channels: int) -> int:
    """Return the FLOPs of a short convolution per step."""
    return 2 * CONV_STEPS * channels


def group_norm(
    y_BTNV: Tensor, gain_C: Tensor, offset_C: Tensor, *, epsilons: int = 1, backend: Backend = "auto"
) -> Tensor:
    """Return the group norm (1) of each head, as (B, T, C) with C = N V.

    Args:
        y_BTNV: Values of all heads.
        gain_C, offset_C: g and o.
        epsilons: ε in units of `NORM_EPSILON`.
        backend: As for `gated_norm`.
    """
    return _normed(y_BTNV, gain_C, None, offset_C, epsilons=epsilons, backend=backend)


def rms_norm(y_BTNV: Tensor, gain_G: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Return the RMS norm (2) of each head, as (B, T, C) with C = N V.

    Args:
        y_BTNV: Values of all heads.
        gain_G: g: (C,), or (V,) if all heads share it.
        backend: As for `gated_norm`.
    """
    return _normed(y_BTNV, gain_G, None, None, backend=backend)


def gated_norm(
    y_BTNV: Tensor,
    g_BTC: Tensor,
    gain_G: Tensor,
    offset_C: Tensor | None = None,
    *,
    gates_first: bool = False,
    gate: Gate = "silu",
    backend: Backend = "auto",
) -> Tensor:
    """Return silu(g) ⊙ norm(y) as (B, T, C), or norm(silu(g) ⊙ y) if the gate comes first.

    Args:
        y_BTNV: Values of all heads, C = N V.
        g_BTC: Inputs of the gate.
        gain_G: Gain of the norm: (C,), or (V,) if all heads share it.
        offset_C: Offset of the group norm (1). None for the RMS norm (2).
        gates_first: Whether the gate comes before the norm. It is then silu.
        gate: `silu`, or `sigmoid` for σ(g) ⊙ norm(y).
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    return _normed(y_BTNV, gain_G, g_BTC, offset_C, gates_first=gates_first, gate=gate, backend=backend)


def _normed(
    y_BTNV: Tensor,
    gain_G: Tensor,
    g_BTC: Tensor | None,
    offset_C: Tensor | None,
    *,
    gates_first: bool = False,
    gate: Gate = "silu",
    epsilons: int = 1,
    backend: Backend,
) -> Tensor:
    """Return what the norms above return, whose arguments these are. If there is no gate, `g_BTC` is None."""
    B, T, N, V = y_BTNV.shape
    assert gate == "silu" or not gates_first

    def reference(y_RC: Tensor, gain_G: Tensor, *others: Tensor) -> tuple[Tensor]:
        given, epsilon = list(others), epsilons * NORM_EPSILON
        gate_RC = None if g_BTC is None else GATES[gate](given.pop(0))
        y_RC = y_RC if gate_RC is None or not gates_first else gate_RC * y_RC
        y_RNV, gain = y_RC.unflatten(-1, (N, V)), gain_G.view(-1, V)  # one row of gains, or one per head
        if given:
            n_RNV = torch.addcmul(given[0].view(N, V), functional.layer_norm(y_RNV, (V,), eps=epsilon), gain)  # (1)
        else:
            n_RNV = functional.rms_norm(y_RNV, (V,), eps=epsilon) * gain  # (2)
        n_RC = n_RNV.flatten(-2)
        return (n_RC if gate_RC is None or gates_first else gate_RC * n_RC,)

    optional = [] if g_BTC is None else [g_BTC.flatten(0, 1)]
    inputs = (y_BTNV.flatten(2).flatten(0, 1), gain_G, *optional, *([] if offset_C is None else [offset_C]))
    shapes = ((B * T, N * V), tuple(gain_G.shape), *((B * T, N * V) for _ in optional), (N * V,))
    if y_BTNV.numel() == 0 or not is_fused(backend, zip(inputs, shapes, strict=False), T):
        (o_RC,) = reference(*inputs)
    else:
        from arch.kernels.training import gated_norm as kernel

        form = kernel.Form(N, g_BTC is not None, gates_first, gate == "sigmoid", offset_C is not None, epsilons)
        o_RC = kernel.gated_norm(reference, form, *inputs)
    return o_RC.view(B, T, N * V)
