"""Mamba-2: a matrix memory with one decay per head, written in proportion to a step size that the input decides.

State space duality (Dao & Gu 2024) with N heads of width V = E / N, for E = f H channels (f = `expand`) and K states:

    z_t, u_t, B_t, C_t, d_t = W_z x_t, W_u x_t, W_B x_t, W_C x_t, W_d x_t     (1)
    u_t, B_t, C_t ← silu(conv(u, B, C)_t)                                     (2)  `arch.core.convolution`
    Δ_t = softplus(d_t + b_d)                                                 (3)  one per head
    S_t = exp(-Δ_t exp(A)) S_(t-1) + Δ_t B_t u_tᵀ                             (4)
    y_t = S_tᵀ C_t + D ⊙ u_t                                                  (5)  D: one number per head
    h_t = W_o norm(silu(z_t) ⊙ y_t)                                           (6)  norm is an RMS norm over E

All heads share B and C, but not the decay exp(-Δ_t exp(A)) and the strength Δ_t of a write.
exp(A) starts uniform in [1, 16] and Δ (at d_t = 0) log-uniform in [0.001, 0.1]: a head starts with a memory of 1 to
1,000 steps. D starts at 1. The paper has 128 states and heads of width 64, for models a hundred times as wide.

    FLOPs per step: 2 (2 E + 2 K + N) D + 8 (E + 2 K) for conv=4 + 4 E K + 2 E H                      (7)
    numbers moved per step: (2 E + 2 K + N) D + 5 (E + 2 K) + 3 N + E + E H weights;
        E K + 3 (E + 2 K) read and written                                                            (8)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K states, V head width, E = N V channels,
# C = E + 2 K channels of the convolution, L taps of the convolution, P projections

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight, is_fused
from arch.core.convolution import convolve
from arch.core.layer import BlockOptions, ParameterGroup, require_steps
from arch.core.memory.heads import (
    HeadLayer,
    convolution_flops,
    empty_inputs,
    gated_norm,
    uniform,
    uniform_filters,
)
from arch.core.memory.projection import Part, project, project_one
from arch.core.streaming_spec import StreamingSpec
from arch.kernels.runtime.tensors import CONV_STEPS

MAX_RATE = 16.0
"""Largest initial value of exp(A)."""
MIN_STEP, MAX_STEP = 1e-3, 1e-1
"""Range of the initial Δ."""


class Mamba2State(NamedTuple):
    """The state of a `mamba2` layer."""

    S_BNKV: Tensor
    """Memory S."""
    inputs_BLC: Tensor | None = None
    """The last three inputs of the convolution, oldest first; None with conv=0."""


class Mamba2(HeadLayer):
    """A selective state space layer in its dual form, as a matrix memory with a scalar decay per head.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. f H must be a multiple of it.
        states: Number of states K, the key width of a head.
        expand: Factor f between the number of channels and the width.
        conv: Number of steps that the convolution reads: 4, or 0 for no convolution.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if a numeric option is below 1, or if f H is no multiple of the number of heads.
    The layer stands in a residual block by default: block=residual, conv=4, expansion=0 (see `arch.core.block`). The
    convolution is part of the layer.
    """

    family = "matrix"
    default_block = BlockOptions(block="residual", conv=4)

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 4,
        states: int = 16,
        expand: int = 2,
        conv: int = 4,
        backend: Backend = "auto",
    ) -> None:
        for name, value in {"heads": heads, "states": states, "expand": expand}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        multiple = heads // math.gcd(heads, expand)
        super().__init__(inputs, width, heads=heads, multiple=multiple, backend=backend)
        self.states, self.expand = states, expand
        E, C = expand * width, expand * width + 2 * states
        self.W_PD = uniform(E + C + heads, inputs)
        self.filter_LC = uniform_filters(C) if conv else None
        self.b_C = nn.Parameter(torch.zeros(C)) if conv else None
        self.rate_N = nn.Parameter(torch.empty(heads).uniform_(1, MAX_RATE).log())
        step_N = torch.empty(heads).uniform_(math.log(MIN_STEP), math.log(MAX_STEP)).exp()
        self.step_N = nn.Parameter(step_N.expm1().log())  # the inverse of softplus
        self.skip_N = nn.Parameter(torch.ones(heads))
        self.gain_E = nn.Parameter(torch.ones(E))
        self.W_HE = uniform(width, E)

    @property
    def channels(self) -> int:
        """E, the number of channels of all heads."""
        return self.expand * self.width

    @property
    def convolved(self) -> int:
        """C, the number of channels of the convolution."""
        return self.channels + 2 * self.states

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.rate_N, self.step_N, self.skip_N], weight_decay=False)]

    def project_flops(self) -> int:
        return 2 * len(self.W_PD) * self.inputs

    def flops_per_step(self) -> int:
        convolution = 0 if self.filter_LC is None else convolution_flops(self.convolved)
        memory = matrix_memory.flops_per_step(self.states, self.channels // self.heads, self.heads)
        return self.project_flops() + convolution + memory + 2 * self.channels * self.width  # (7)

    def init_state(self, batch: int) -> Mamba2State:
        inputs_BLC = None if self.filter_LC is None else empty_inputs(self, batch, self.convolved)
        return Mamba2State(self.empty(batch, self.heads, self.states, self.channels // self.heads), inputs_BLC)

    def scan(self, x_BTD: Tensor, state: Mamba2State) -> tuple[Tensor, Mamba2State]:
        require_steps(x_BTD)
        E, K, N, inputs_BLC = self.channels, self.states, self.heads, state.inputs_BLC
        parts = (Part(E), Part(E + 2 * K), Part(N))
        z_BTE, c_BTC, d_BTN = project(x_BTD, self.W_PD, None, parts, backend=self.backend)  # (1)
        if self.filter_LC is None or inputs_BLC is None:
            c_BTC = functional.silu(c_BTC)
        else:
            c_BTC, inputs_BLC = convolve(
                c_BTC, inputs_BLC, self.filter_LC, self.b_C, activates=True, backend=self.backend
            )
        y_BTE, S_BNKV = self._scan(c_BTC, d_BTN, state.S_BNKV)
        y_BT1E = y_BTE.unsqueeze(2)
        n_BTE = gated_norm(y_BT1E, z_BTE, self.gain_E, gates_first=True, backend=self.backend)
        return project_one(n_BTE, self.W_HE, backend=self.backend), Mamba2State(S_BNKV, inputs_BLC)  # (6)

    def _scan(self, c_BTC: Tensor, d_BTN: Tensor, S_BNKV: Tensor) -> tuple[Tensor, Tensor]:
        """Return y (B, T, E) of equations (3) to (5) and the last memory, for u, B and C side by side."""
        inputs = (c_BTC, d_BTN, self.rate_N, self.step_N, self.skip_N, S_BNKV)
        (B, T, C), N, K = c_BTC.shape, self.heads, self.states
        shapes = ((B, T, C), (B, T, N), (N,), (N,), (N,), (B, N, K, self.channels // N))
        if not is_fused(self.backend, zip(inputs, shapes, strict=True), T):
            return recurrence(*inputs)
        from arch.kernels.training.heads import dual_scan

        y_BTE, last_BNKV = dual_scan.scan(recurrence, *inputs)
        return y_BTE, last_BNKV

    def gates(self, x_BD: Tensor, state: Mamba2State) -> dict[str, Tensor]:
        """Return `decay`, the share of its memory that each head keeps, and 1 - e^-Δ as `strength`, both (B, N).

        A write of (4) is Δ times its input. Δ has no upper bound, and 1 - e^-Δ = σ(d + b_d) rises with it from 0 to 1,
        as in `mamba`.
        """
        p_BN = functional.linear(x_BD, self.W_PD[-self.heads :], self.step_N)
        return {"decay": decay(functional.softplus(p_BN), self.rate_N), "strength": p_BN.sigmoid()}

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N, K, E, C = self.inputs, self.width, self.heads, self.states, self.channels, self.convolved
        has_conv = self.filter_LC is not None

        def load() -> object:
            from arch.kernels.streaming.heads import mamba2

            return mamba2.step

        return self.head_spec(
            load,
            sizes=(D, H, N, K, E),
            weights=(
                Weight(self, "W_PD", (E + C + N, D)),
                Weight(self, "W_HE", (H, E)),
                Weight(self, "gain_E", (E,)),
                Weight(self, "rate_N", (N,)),
                Weight(self, "step_N", (N,)),
                Weight(self, "skip_N", (N,)),
                Weight(self, "filter_LC", (CONV_STEPS, C)) if has_conv else None,
                Weight(self, "b_C", (C,)) if has_conv else None,
            ),
            state=Mamba2State,
            shapes=((N, K, E // N), (CONV_STEPS - 1, C) if has_conv else None),
            workspace=(E + C + N) + 2 * N + 2 * E,
        )


def recurrence(
    c_BTC: Tensor, d_BTN: Tensor, rate_N: Tensor, step_N: Tensor, skip_N: Tensor, S_BNKV: Tensor
) -> tuple[Tensor, Tensor]:
    """Return y (B, T, E) of equations (3) to (5) and the memory after the last step, by plain torch.

    Args:
        c_BTC: u, B and C of (2).
        d_BTN: d.
        rate_N, step_N, skip_N: A, b_d and D.
        S_BNKV: The memory before the first step.
    """
    _, N, K, V = S_BNKV.shape
    u_BTE, B_BTK, C_BTK = c_BTC.split([N * V, K, K], -1)
    u_BTNV = u_BTE.unflatten(-1, (N, V))
    step_BTN1 = functional.softplus(d_BTN + step_N).unsqueeze(-1)  # (3)
    y_BTNV, last_BNKV = matrix_memory.scan(
        C_BTK.unsqueeze(2),
        B_BTK.unsqueeze(2),
        u_BTNV,
        S_BNKV,
        decay=decay(step_BTN1, rate_N.unsqueeze(-1)),
        strength=step_BTN1,
        backend="reference",
    )  # (4)
    return torch.addcmul(y_BTNV, skip_N.unsqueeze(-1), u_BTNV).flatten(2), last_BNKV  # (5)


def decay(step: Tensor, rate: Tensor) -> Tensor:
    """Return the decay of equation (4) for Δ and A."""
    return (-step * rate.exp()).exp()
