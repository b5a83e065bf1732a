"""Linear attention: attention whose weights are products of positive features, so that one matrix holds the past.

Linear attention with N heads (Katharopoulos et al. 2020), for keys and values of width K = H / N:

    q_t, k_t, v_t = W_q x_t + b_q, W_k x_t + b_k, W_v x_t + b_v     (1)
    S_t = S_(t-1) + φ(k_t) v_tᵀ                                     (2)  φ(x) = elu(x) + 1
    n_t = n_(t-1) + φ(k_t)                                          (3)
    y_t = S_tᵀ φ(q_t) / (φ(q_t)·n_t + ε)                            (4)
    h_t = W_o y_t + b_o                                             (5)

There are no positions: the causal sum alone carries the order. S and n are one memory, whose last column is n.

    FLOPs per step: 6 H D + 2 H² + 4 H (K + 1)                                          (6)
    numbers moved per step: 3 H (D + 1) + H (H + 1) weights, H (K + 1) read and written (7)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K key and value width, U = K + 1, P projections

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.heads import HeadLayer, uniform
from arch.core.memory.normaliser import normalised
from arch.core.memory.projection import Part, project, project_one
from arch.core.streaming_spec import StreamingSpec


class LinearAttentionState(NamedTuple):
    """The state of a `linear_attention` layer."""

    S_BNKU: Tensor
    """S of equation (2), with n of equation (3) as a further column."""


class LinearAttention(HeadLayer):
    """Linear attention. Its state does not grow, and all steps cost the same.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of it.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `heads` is below 1, or if the width is no multiple of it.
    The layer stands in a residual block by default: block=residual, conv=0, expansion=4 (see `arch.core.block`).
    """

    family = "matrix"
    default_block = BlockOptions(block="residual", expansion=4)

    def __init__(self, inputs: int, width: int, *, heads: int = 2, backend: Backend = "auto") -> None:
        super().__init__(inputs, width, heads=heads, multiple=heads, backend=backend)
        self.W_PD = uniform(3 * width, inputs)
        self.b_P = nn.Parameter(torch.zeros(3 * width))
        self.W_HH = uniform(width, width)
        self.b_H = nn.Parameter(torch.zeros(width))

    @property
    def keys(self) -> int:
        """K, the key and value width of a head."""
        return self.width // self.heads

    def project_flops(self) -> int:
        return 6 * self.width * self.inputs

    def flops_per_step(self) -> int:
        memory = matrix_memory.flops_per_step(self.keys, self.keys + 1, self.heads)
        return self.project_flops() + memory + 2 * self.width**2  # (6)

    def init_state(self, batch: int) -> LinearAttentionState:
        return LinearAttentionState(self.empty(batch, self.heads, self.keys, self.keys + 1))

    def scan(self, x_BTD: Tensor, state: LinearAttentionState) -> tuple[Tensor, LinearAttentionState]:
        require_steps(x_BTD)
        featured = Part(self.width, "feature", self.heads)
        parts = (featured, featured, Part(self.width, heads=self.heads, counts=True))
        q_BTNK, k_BTNK, v_BTNU = project(x_BTD, self.W_PD, self.b_P, parts, backend=self.backend)  # (1)
        y_BTNU, S_BNKU = matrix_memory.scan(q_BTNK, k_BTNK, v_BTNU, state.S_BNKU, backend=self.backend)  # (2), (3)
        y_BTNK = normalised(y_BTNU, backend=self.backend)  # (4)
        h_BTH = project_one(y_BTNK.flatten(2), self.W_HH, self.b_H, backend=self.backend)  # (5)
        return h_BTH, LinearAttentionState(S_BNKU)

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N, K = self.inputs, self.width, self.heads, self.keys

        def load() -> object:
            from arch.kernels.streaming.heads import linear_attention

            return linear_attention.step

        return self.head_spec(
            load,
            sizes=(D, H, N),
            weights=(
                Weight(self, "W_PD", (3 * H, D)),
                Weight(self, "b_P", (3 * H,)),
                Weight(self, "W_HH", (H, H)),
                Weight(self, "b_H", (H,)),
            ),
            state=LinearAttentionState,
            shapes=((N, K, K + 1),),
            workspace=3 * H + 2 * (K + 1),
        )
