"""GLA: gated linear attention, a matrix memory in which each key forgets at a rate that the input decides.

Gated linear attention (Yang et al. 2023) with N heads, keys of width K = H / 2N and values of width V = H / N:

    q_t, k_t, v_t, g_t = W_q x_t, W_k x_t, W_v x_t, W_g x_t     (1)
    α_t = σ(W_2 W_1 x_t + b)^(1/16)                             (2)  W_1 has few rows: the rank
    S_t = diag(α_t) S_(t-1) + k_t v_tᵀ                          (3)
    y_t = S_tᵀ q_t / √K                                         (4)
    h_t = W_o (silu(g_t) ⊙ norm(y_t))                           (5)  norm is an RMS norm per head

The projections have no biases, as in the authors' implementation. The exponent 1/16 keeps α near 1 at the start. r is
the rank:

    FLOPs per step: (6 H + 2 r) D + r H + 2 H² + 2 H² / N                                           (6)
    numbers moved per step: (3 H + r) D + (r + 1) H / 2 + H² + V weights, H V / 2 read and written  (7)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K key width, V value width, G = N K, R rank,
# P projections

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.heads import HeadLayer, gated_norm, uniform
from arch.core.memory.projection import Part, project, project_one
from arch.core.streaming_spec import StreamingSpec

EXPONENT = 1 / 16
"""The exponent of equation (2)."""


class GLAState(NamedTuple):
    """The state of a `gla` layer."""

    S_BNKV: Tensor
    """Memory S."""


class GLA(HeadLayer):
    """Gated linear attention. Each key of each head forgets at a rate of its own, which depends on the input.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of 2N.
        rank: Number of rows of W_1.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if a numeric option is below 1, or if the width is no multiple of 2N.
    The layer stands in a residual block by default: block=residual, conv=0, expansion=4 (see `arch.core.block`).
    """

    family = "matrix"
    default_block = BlockOptions(block="residual", expansion=4)

    def __init__(self, inputs: int, width: int, *, heads: int = 2, rank: int = 16, backend: Backend = "auto") -> None:
        super().__init__(inputs, width, heads=heads, multiple=2 * heads, backend=backend)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        self.rank = rank
        self.W_PD = uniform(3 * width + rank, inputs)
        self.W_GR = uniform(width // 2, rank)
        self.b_G = nn.Parameter(torch.zeros(width // 2))
        self.gain_V = nn.Parameter(torch.ones(self.values))
        self.W_HH = uniform(width, width)

    @property
    def keys(self) -> int:
        """K, the key width of a head."""
        return self.width // (2 * self.heads)

    @property
    def values(self) -> int:
        """V, the value width of a head."""
        return self.width // self.heads

    def project_flops(self) -> int:
        return 2 * (3 * self.width + self.rank) * self.inputs

    def flops_per_step(self) -> int:
        memory = matrix_memory.flops_per_step(self.keys, self.values, self.heads)
        return self.project_flops() + self.rank * self.width + memory + 2 * self.width**2  # (6)

    def init_state(self, batch: int) -> GLAState:
        return GLAState(self.empty(batch, self.heads, self.keys, self.values))

    def scan(self, x_BTD: Tensor, state: GLAState) -> tuple[Tensor, GLAState]:
        require_steps(x_BTD)
        N = self.heads
        q_BTNK, k_BTNK, v_BTNV, g_BTH, low_BTR = self._projected(x_BTD)  # (1)
        y_BTNV, S_BNKV = matrix_memory.scan(
            q_BTNK / math.sqrt(self.keys),
            k_BTNK,
            v_BTNV,
            state.S_BNKV,
            decay=self._decay(low_BTR).unflatten(-1, (N, -1)),
            backend=self.backend,
        )  # (3), (4)
        gated_BTH = gated_norm(y_BTNV, g_BTH, self.gain_V, backend=self.backend)
        return project_one(gated_BTH, self.W_HH, backend=self.backend), GLAState(S_BNKV)  # (5)

    def gates(self, x_BD: Tensor, state: GLAState) -> dict[str, Tensor]:
        """Return `decay`, the share α of equation (2) that each key keeps, (B, N, K)."""
        low_B1R = self._projected(x_BD.unsqueeze(1))[-1]
        return {"decay": self._decay(low_B1R.squeeze(1)).unflatten(-1, (self.heads, -1))}

    def _projected(self, x_BTD: Tensor) -> tuple[Tensor, ...]:
        """Return q, k and v per head and g of equation (1), and W_1 x of equation (2)."""
        H, N = self.width, self.heads
        keys = Part(H // 2, heads=N)
        parts = (keys, keys, Part(H, heads=N), Part(H), Part(self.rank))
        return project(x_BTD, self.W_PD, None, parts, backend=self.backend)

    def _decay(self, low: Tensor) -> Tensor:
        """Return α (..., G) of equation (2) for W_1 x (..., R)."""
        return (EXPONENT * functional.logsigmoid(functional.linear(low, self.W_GR, self.b_G))).exp()  # (2)

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N, K, V, R = self.inputs, self.width, self.heads, self.keys, self.values, self.rank

        def load() -> object:
            from arch.kernels.streaming.heads import gla

            return gla.step

        return self.head_spec(
            load,
            sizes=(D, H, N, R),
            weights=(
                Weight(self, "W_PD", (3 * H + R, D)),
                Weight(self, "W_HH", (H, H)),
                Weight(self, "gain_V", (V,)),
                Weight(self, "W_GR", (H // 2, R)),
                Weight(self, "b_G", (H // 2,)),
            ),
            state=GLAState,
            shapes=((N, K, V),),
            workspace=(3 * H + R) + H // 2 + H,
        )
