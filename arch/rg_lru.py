"""RG-LRU: the recurrent block of Griffin, a gated linear recurrence behind a short convolution.

The source is De et al. 2024, "Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language
Models", section 2.3 and 2.4. x is the input, h the previous and h' the next state, and y the output:

    v  = W_v x + b_v                                  (1)  input of the recurrent branch
    u  = b_c + Σ_k w_k ⊙ v_(t-3+k)                    (2)  causal convolution over four steps; conv=0: u = v
    r  = σ(W_r u + b_r)                               (3)  recurrence gate
    i  = σ(W_i u + b_i)                               (4)  input gate
    a  = exp(-8 softplus(Λ) ⊙ r)                      (5)  share of h that is kept
    h' = a ⊙ h + √(1 - a²) ⊙ i ⊙ u                    (6)
    y  = W_y (h' ⊙ gelu(W_g x + b_g)) + b_y           (7)  gate of the second branch, and output

    FLOPs per step: 4 H D for (1) and (7), 6 H² for (3), (4) and (7), and 8 H for (2)                          (8)
    numbers moved per step: H (2 D + 3 H + 6) weights and 2 H of state; 5 H weights and 6 H of state for (2)   (9)

Λ starts such that a lies in [0.9, 0.999] for r = 1: a² is uniform in [0.9², 0.999²], as in LRU (Orvieto et al. 2023).
The source's block has a gated MLP of three model widths around the layer, where `arch.core.block` has its own. The
gates' weights are full matrices here, and block-diagonal in the source's code. h starts from 0.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G = 2H rows, K taps of the convolution

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.convolution import convolve
from arch.core.diagonal import DiagonalLayer, recur
from arch.core.layer import BlockOptions, ParameterGroup
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors
from arch.kernels.runtime.tensors import CONV_STEPS

SHARPNESS = 8.0
"""The constant in equation (5)."""
A_MIN, A_MAX = 0.9, 0.999
"""Range of a for r = 1 in a new layer."""
SMALLEST = 1e-30
"""Smallest value of 1 - a² in (6), so that its square root has a derivative."""


class RGLRUState(NamedTuple):
    """The state of an RG-LRU layer."""

    h_BH: Tensor
    """h."""
    inputs_BKH: Tensor | None = None
    """The last three inputs v of the convolution, oldest first. None if there is no convolution."""


class RGLRU(DiagonalLayer):
    """A real-gated linear recurrent unit layer.

    Args:
        inputs: Input width D.
        width: Output width H, and width of the recurrence.
        conv: Number of steps that the convolution (2) reads: 4, or 0 for no convolution.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands in a residual block by default: block=residual, conv=4, expansion=2 (see `arch.core.block`). The
    convolution is that of equation (2), inside the layer.
    """

    family = "diagonal"
    default_block = BlockOptions(block="residual", conv=4, expansion=2)

    def __init__(self, inputs: int, width: int, *, conv: int = 4, backend: Backend = "auto") -> None:
        super().__init__()
        BlockOptions(conv=conv)  # refuses other numbers of steps
        self.width = width
        self.backend = backend

        def uniform(*shape: int, fan_in: int) -> nn.Parameter:  # as in torch.nn.Linear and torch.nn.Conv1d
            return nn.Parameter(torch.empty(shape).uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)))

        self.W_vg_GD, self.b_vg_G = uniform(2 * width, inputs, fan_in=inputs), uniform(2 * width, fan_in=inputs)
        self.conv_KH: Tensor | None = uniform(conv, width, fan_in=conv) if conv else None
        self.conv_H: Tensor | None = uniform(width, fan_in=conv) if conv else None
        self.W_ri_GH, self.b_ri_G = uniform(2 * width, width, fan_in=width), uniform(2 * width, fan_in=width)
        a_H = torch.empty(width).uniform_(A_MIN**2, A_MAX**2).sqrt()
        self.decay_H = nn.Parameter((-a_H.log() / SHARPNESS).expm1().log())  # Λ, the inverse of softplus
        self.W_y_HH, self.b_y_H = uniform(width, width, fan_in=width), uniform(width, fan_in=width)

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_vg_GD.shape[-1]

    def project_flops(self) -> int:
        return 2 * self.W_vg_GD.numel()  # (8)

    def update_flops(self) -> int:
        convolution = 0 if self.conv_KH is None else 2 * self.conv_KH.numel()
        return 2 * (self.W_ri_GH.numel() + self.W_y_HH.numel()) + convolution  # (8)

    def step_bytes(self, position: int) -> int:
        weights = sum(parameter.numel() for parameter in self.parameters())
        moved = self.width * (2 if self.conv_KH is None else 2 * CONV_STEPS)
        return (weights + moved) * element_bytes(self)  # (9)

    def init_state(self, batch: int) -> RGLRUState:
        inputs_BKH = None if self.conv_KH is None else self.empty(batch, CONV_STEPS - 1, self.width)
        return RGLRUState(self.empty(batch, self.width), inputs_BKH)

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_vg_GD, self.b_vg_G)  # (1), (7)

    def convolve(self, v_BTH: Tensor, inputs_BKH: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return u of equation (2) for T steps, and the last inputs of the convolution.

        Args:
            v_BTH: v of T steps.
            inputs_BKH: The last inputs before them.
        """
        if self.conv_KH is None or self.conv_H is None or inputs_BKH is None:
            return v_BTH, None
        return convolve(v_BTH, inputs_BKH, self.conv_KH, self.conv_H, backend="reference")  # (2)

    def log_decay(self) -> Tensor:
        """Return log a of equation (5) for r = 1, (H,)."""
        return -SHARPNESS * functional.softplus(self.decay_H)

    def coefficients(self, gates_BTG: Tensor, u_BTH: Tensor, log_decay_H: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and √(1 - a²) ⊙ i ⊙ u of equation (6), each (B, T, H).

        Args:
            gates_BTG: The sums of r and i.
            u_BTH: u.
            log_decay_H: log a for r = 1.
        """
        r_BTH, i_BTH = gates_BTG.sigmoid().chunk(2, -1)  # (3), (4)
        log_a_BTH = log_decay_H * r_BTH  # (5)
        scale_BTH = (-torch.expm1(2 * log_a_BTH)).clamp(min=SMALLEST).sqrt()
        return log_a_BTH.exp(), scale_BTH * i_BTH * u_BTH  # (6)

    def follow(self, projected_BTG: Tensor, state: RGLRUState) -> tuple[Tensor, RGLRUState]:
        v_BTH, gate_BTH = projected_BTG.chunk(2, -1)
        u_BTH, inputs_BKH = self.convolve(v_BTH, state.inputs_BKH)
        gates_BTG = functional.linear(u_BTH, self.W_ri_GH, self.b_ri_G)
        h_BTH = recur(*self.coefficients(gates_BTG, u_BTH, self.log_decay()), state.h_BH)
        return read(h_BTH, gate_BTH, self.W_y_HH, self.b_y_H), RGLRUState(h_BTH[:, -1].clone(), inputs_BKH)

    def fuse(self, x_TBD: Tensor, state: RGLRUState) -> tuple[Tensor, RGLRUState]:
        from arch.kernels.training.linear_units import rg_lru

        def reference(x_TBD: Tensor, h_BH: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            W_vg_GD, b_vg_G, W_ri_GH, b_ri_G, log_decay_H, W_y_HH, b_y_H, *conv = weights
            v_TBH, gate_TBH = functional.linear(x_TBD, W_vg_GD, b_vg_G).chunk(2, -1)  # (1), (7)
            u_TBH, *last = convolve(v_TBH, *conv, time=0, backend="reference") if conv else (v_TBH,)  # (2)
            gates_TBG = functional.linear(u_TBH, W_ri_GH, b_ri_G)
            of_sequences = (gates_TBG.transpose(0, 1), u_TBH.transpose(0, 1))
            h_TBH = recur(*self.coefficients(*of_sequences, log_decay_H), h_BH).transpose(0, 1)
            return read(h_TBH, gate_TBH, W_y_HH, b_y_H), h_TBH[-1], *last

        weights = (self.W_vg_GD, self.b_vg_G, self.W_ri_GH, self.b_ri_G, self.log_decay(), self.W_y_HH, self.b_y_H)
        conv = (state.inputs_BKH, self.conv_KH, self.conv_H)
        y_TBH, *after = rg_lru.scan(
            reference, x_TBD, state.h_BH, *weights, *(part for part in conv if part is not None)
        )
        return y_TBH, RGLRUState(*after)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        H, D = self.width, self.inputs
        before = {"W_vg_GD": (2 * H, D), "b_vg_G": (2 * H,)}
        after = {"W_ri_GH": (2 * H, H), "b_ri_G": (2 * H,), "decay_H": (H,), "W_y_HH": (H, H), "b_y_H": (H,)}
        convolution = {"conv_KH": (CONV_STEPS, H), "conv_H": (H,)} if self.conv_KH is not None else {}
        shapes = before | after | convolution
        parts = [(H,), *([(CONV_STEPS - 1, H)] if convolution else [])]
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H),
            weights=tuple(Weight(self, name, shape) for name, shape in shapes.items()),
            workspace=3 * H,
            bind=lambda state, batch, *_: bind_tensors(state, RGLRUState, batch, parts),
            cell=LayerStep(_load_step),
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup((self.decay_H,), weight_decay=False)]

    def gates(self, x_BD: Tensor, state: RGLRUState) -> dict[str, Tensor]:
        v_BTH, _ = self.project(x_BD.unsqueeze(1)).chunk(2, -1)
        u_BTH, _ = self.convolve(v_BTH, state.inputs_BKH)
        r_BH, i_BH = functional.linear(u_BTH.squeeze(1), self.W_ri_GH, self.b_ri_G).sigmoid().chunk(2, -1)
        return {"forget": (self.log_decay() * r_BH).exp(), "input": i_BH}


def read(h: Tensor, gate: Tensor, W_y_HH: Tensor, b_y_H: Tensor) -> Tensor:
    """Return y of equation (7) for h (..., H) and W_g x + b_g (..., H)."""
    return functional.linear(h * functional.gelu(gate), W_y_HH, b_y_H)


def _load_step() -> object:
    from arch.kernels.streaming.rg_lru_step import rg_lru

    return rg_lru
