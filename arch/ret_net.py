"""RetNet: a matrix memory that forgets at a fixed rate per head, and whose keys rotate with the distance.

Multi-scale retention (Sun et al. 2023) with N heads, keys of width K = H / N and values of width V = f H / N, for
f = `value_factor`. R rotates the pairs of rows 2j and 2j + 1 by the angle θ_j = 10000^(-2j/K):

    q_t, k_t, v_t, g_t = W_q x_t, W_k x_t, W_v x_t, W_g x_t     (1)
    S_t = γ R⁻¹ S_(t-1) + k_t v_tᵀ / √K                         (2)  γ = 1 - 2^(-5-n) for head n = 0 to N - 1
    y_t = S_tᵀ q_t                                              (3)
    h_t = W_o (silu(g_t) ⊙ norm(y_t))                           (4)  norm is a group norm per head

Unrolled, y_t is the sum of γ^(t-s) (R^t q_t)·(R^s k_s) v_s / √K over all s ≤ t: queries and keys with rotary
positions. `scan` rotates them so, with steps counted from the start of the chunk. It rotates the last memory back once,
by R^-T, so that the next chunk counts from its own start. The state needs no position.

    FLOPs per step: (4 + 4 f) H D + 2 f H² + 4 f H K                                                 (5)
    numbers moved per step: (2 + 2 f) H D + f H² + 2 f H + N + K weights, f H K read and f H K written  (6)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K key width, V value width, J = K/2 pairs, C = N V,
# P projections

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from arch.core import matrix_memory
from arch.core.attention.positions import apply_rotary, frequencies, rotary_factors
from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.heads import HeadLayer, gated_norm
from arch.core.memory.projection import Part, project, project_one
from arch.core.streaming_spec import StreamingSpec

PROJECTION_GAIN, OUTPUT_GAIN = 2**-2.5, 2**-1
"""Gains of the uniform initialisation (Glorot & Bengio 2010) of W_q to W_g and of W_o, as in the authors' code."""


class RetNetState(NamedTuple):
    """The state of a `ret_net` layer."""

    S_BNKV: Tensor
    """Memory S."""


class RetNet(HeadLayer):
    """Multi-scale retention. Each head forgets at a rate of its own, which is not learned.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of 2N.
        value_factor: Factor f between the widths of values and keys.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if a numeric option is below 1, or if the width is no multiple of 2N.
    The layer stands in a residual block by default: block=residual, conv=0, expansion=2 (see `arch.core.block`).
    """

    family = "matrix"
    default_block = BlockOptions(block="residual", expansion=2)
    gamma_N: Tensor
    rotation_2J: Tensor

    def __init__(
        self, inputs: int, width: int, *, heads: int = 2, value_factor: int = 2, backend: Backend = "auto"
    ) -> None:
        super().__init__(inputs, width, heads=heads, multiple=2 * heads, backend=backend)
        if value_factor < 1:
            raise ValueError(f"value_factor must be at least 1, not {value_factor}")
        self.value_factor = value_factor
        C = value_factor * width
        self.W_PD = nn.Parameter(torch.empty(2 * width + 2 * C, inputs))
        self.gain_C = nn.Parameter(torch.ones(C))
        self.offset_C = nn.Parameter(torch.zeros(C))
        self.W_HC = nn.Parameter(torch.empty(width, C))
        for part in self.W_PD.split([width, width, C, C]):
            nn.init.xavier_uniform_(part, PROJECTION_GAIN)
        nn.init.xavier_uniform_(self.W_HC, OUTPUT_GAIN)
        self.register_buffer("gamma_N", 1 - torch.exp2(-5.0 - torch.arange(heads)), persistent=False)
        angle_J = frequencies(self.keys // 2, self.gamma_N.device)
        rotation_2J = torch.empty(2, self.keys // 2, device=angle_J.device)
        rotation_2J[0], rotation_2J[1] = angle_J.cos(), angle_J.sin()
        self.register_buffer("rotation_2J", rotation_2J, persistent=False)

    @property
    def keys(self) -> int:
        """K, the key width of a head."""
        return self.width // self.heads

    @property
    def values(self) -> int:
        """V, the value width of a head."""
        return self.value_factor * self.keys

    def project_flops(self) -> int:
        return (4 + 4 * self.value_factor) * self.width * self.inputs

    def flops_per_step(self) -> int:
        memory = matrix_memory.flops_per_step(self.keys, self.values, self.heads)
        return self.project_flops() + memory + 2 * self.value_factor * self.width**2  # (5)

    def init_state(self, batch: int) -> RetNetState:
        return RetNetState(self.empty(batch, self.heads, self.keys, self.values))

    def scan(self, x_BTD: Tensor, state: RetNetState) -> tuple[Tensor, RetNetState]:
        require_steps(x_BTD)
        (B, T, _), N, H, C = x_BTD.shape, self.heads, self.width, self.value_factor * self.width
        rotating = Part(H, heads=N, rotates=True)
        rotary_TJ = rotary_factors(1, T, self.keys // 2, x_BTD)
        q_BTNK, k_BTNK, v_BTNV, g_BTC = project(
            x_BTD,
            self.W_PD,
            None,
            (rotating, rotating, Part(C, heads=N), Part(C)),
            rotary_RTJ=torch.stack([rotary_TJ, rotary_TJ / math.sqrt(self.keys)]),
            backend=self.backend,
        )  # (1); / √K is part of k
        y_BTNV, rotated_BNKV = matrix_memory.scan(
            q_BTNK,
            k_BTNK,
            v_BTNV,
            state.S_BNKV,
            decay=self.gamma_N.view(1, 1, N, 1).expand(B, T, N, 1),
            backend=self.backend,
        )  # (2), (3)
        S_BNKV = apply_rotary(rotated_BNKV.mT.contiguous(), rotary_TJ[-1].conj()).mT.contiguous()
        gated_BTC = gated_norm(y_BTNV, g_BTC, self.gain_C, self.offset_C, backend=self.backend)
        return project_one(gated_BTC, self.W_HC, backend=self.backend), RetNetState(S_BNKV)  # (4)

    def gates(self, x_BD: Tensor, state: RetNetState) -> dict[str, Tensor]:
        """Return γ as `decay`, (B, N). It is the same at every step."""
        return {"decay": self.gamma_N.expand(len(x_BD), -1)}

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N, K, V, C = self.inputs, self.width, self.heads, self.keys, self.values, self.value_factor * self.width

        def load() -> object:
            from arch.kernels.streaming.heads import ret_net

            return ret_net.step

        return self.head_spec(
            load,
            sizes=(D, H, N, C),
            weights=(
                Weight(self, "W_PD", (2 * H + 2 * C, D)),
                Weight(self, "W_HC", (H, C)),
                Weight(self, "gain_C", (C,)),
                Weight(self, "offset_C", (C,)),
                Weight(self, "gamma_N", (N,)),
                Weight(self, "rotation_2J", (2, K // 2)),
            ),
            state=RetNetState,
            shapes=((N, K, V),),
            workspace=2 * H + 3 * C,
        )
