"""Gated DeltaNet: the delta rule with a decay that depends on the input, so that a memory can be cleared at once.

The source is Yang et al. 2024, "Gated Delta Networks". With `householders=n` it is Gated DeltaProduct (Siems et al.
2025). With `decay=channel` it is Kimi Delta Attention (KDA; Kimi Team 2025), whose decay differs between the channels
of a key. x is the input. Equations (1) to (3) of `arch.core.memory.delta_rule` give its query q, its keys k_j of norm
1, its values v_j and their strengths β_j. Per head, with S the memory before the token:

    α  = exp(-A softplus(w_α x + b))                     (1a) decay=head: one number; w_α is a vector
    α  = exp(-A softplus(W_↑ W_↓ x + b))                 (1b) decay=channel: K numbers; all heads share W_↓ x
    S_0 = diag(α) S                                      (2a) once per token; S is (K, K), keys times values
    S_j = (I - β_j k_j k_jᵀ) S_(j-1) + β_j k_j v_jᵀ      (2b) for j = 1 … n
    y  = W_o (norm(S_nᵀ q) ⊙ g)                          (3)  RMS norm per head
    g  = silu(W_g x), or σ(W_g x) with decay=channel     (4)

A is positive and learned, one number per head. It starts uniform in (0, 16), or in (1, 16) with decay=channel. b
starts so that softplus(b) is log-uniform from 0.001 to 0.1, as in Mamba (Gu & Dao 2023). Neither has weight decay. KDA
writes W_g as a product of two narrow matrices. Here W_g is one matrix, because a narrow one would have K rows too.

    FLOPs per step: 2 D (C + H + n N) for the projections, C = (1 + 2n) H, and 2 D N for (1a) or 2 (D + H) K
        for (1b); 8 C for the convolution; (6n + 2) H K for (2b) and the read; 2 H² for W_o            (5)
    numbers moved per step: all weights; H K of memory and 3 C of inputs, read and written             (6)
"""

# Shape suffixes: B batch, T tokens, S = n T steps, D input width, H width, N heads, K head width, A decays: N or H

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions, ParameterGroup, require_steps
from arch.core.memory.delta_rule import DeltaLayer, DeltaState
from arch.core.memory.heads import gated_norm, rms_norm, uniform
from arch.core.memory.projection import project_one
from arch.core.streaming_spec import StreamingSpec

MIN_RATE, MAX_RATE = 1e-3, 0.1
"""Range of softplus(b) at the start."""
MAX_A = 16
"""Largest A at the start."""


class GatedDeltaNet(DeltaLayer):
    """A layer of matrix memories with decay and the delta rule.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of it.
        decay: Whether α is one number per `head`, or one per `channel` of its keys (KDA).
        negative: Whether β lies in (0, 2), so that transitions have negative eigenvalues. Otherwise it lies in (0, 1).
        householders: Number of steps n per token, each with a key and a value. More than one is Gated DeltaProduct.
        conv: Number of steps that a convolution over q, k and v reads: 4, or 0 for no convolution.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `heads` or `householders` is below 1, or if the width is no multiple of `heads`.

    The layer stands in a residual block by default: block=residual, conv=4, expansion=4 (see `arch.core.block`). The
    convolution is part of the layer.
    """

    family = "matrix"
    default_block: ClassVar[BlockOptions] = BlockOptions(block="residual", conv=4, expansion=4)

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 2,
        decay: Literal["head", "channel"] = "head",
        negative: bool = False,
        householders: int = 1,
        conv: int = 4,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            inputs, width, heads=heads, negative=negative, householders=householders, conv=conv, backend=backend
        )
        self.decay = decay
        by_channel, K = decay == "channel", width // heads
        decays = width if by_channel else heads
        self.decay_KD = uniform(K, inputs) if by_channel else None
        self.decay_AK = uniform(decays, K if by_channel else inputs)
        self.rate_A = nn.Parameter(inverse_softplus_of_log_uniform(decays))
        self.log_A_N = nn.Parameter(torch.empty(heads).uniform_(float(by_channel), MAX_A).clamp_(min=1e-4).log_())
        self.W_g_HD = uniform(width, inputs)
        self.gain_K = nn.Parameter(torch.ones(K))
        self.W_HH = uniform(width, width)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.log_A_N, self.rate_A], weight_decay=False)]

    def scan(self, x_BTD: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        require_steps(x_BTD)
        q_BTNK, k_BSNK, v_BSNK, beta_BSN1, inputs_BLC, (g_BTH, rate_BTR) = self.writes(
            x_BTD, state, (self.W_g_HD, self._rate_weight())
        )
        alpha_BSNK = first_of(self.householders, self._decays(rate_BTR))  # (2a)
        y_BTNK, memory_BNKV = matrix_memory.scan(
            q_BTNK,
            k_BSNK,
            v_BSNK,
            state.memory_BNKV,
            decay=alpha_BSNK,
            correction=(alpha_BSNK * k_BSNK, None),
            strength=beta_BSN1,
            reads_every=self.householders,
            backend=self.backend,
        )  # (2b)
        if self.decay == "head":
            gated_BTH = gated_norm(y_BTNK, g_BTH, self.gain_K, backend=self.backend)  # (4)
        else:
            gated_BTH = rms_norm(y_BTNK, self.gain_K, backend=self.backend) * g_BTH.sigmoid()  # (4)
        y_BTH = project_one(gated_BTH, self.W_HH, backend=self.backend)  # (3)
        return y_BTH, DeltaState(memory_BNKV, inputs_BLC)

    def decays(self, x_BTD: Tensor) -> Tensor:
        """Return α of equation (1): (B, T, N, 1) of (1a), or (B, T, N, K) of (1b)."""
        return self._decays(functional.linear(x_BTD, self._rate_weight()))

    def _rate_weight(self) -> Tensor:
        """Return the weights (R, D) that equation (1) multiplies the input by: w_α of all heads, or W_↓."""
        return self.decay_AK if self.decay_KD is None else self.decay_KD

    def _decays(self, product_BTR: Tensor) -> Tensor:
        """Return what `decays` returns, from the product of `_rate_weight` with the input."""
        by_channel = self.decay_KD is not None
        p_BTA = functional.linear(product_BTR, self.decay_AK, self.rate_A) if by_channel else product_BTR + self.rate_A
        rate_BTA = functional.softplus(p_BTA)
        return torch.exp(-self.log_A_N.exp()[:, None] * rate_BTA.unflatten(2, (self.heads, -1)))  # (1a), (1b)

    def gates(self, x_BD: Tensor, state: DeltaState) -> dict[str, Tensor]:
        """Return α as `decay`, (B, N), or (B, H) with decay=channel, and β of each step as `strength`, (B, n · N)."""
        x_BTD = x_BD.unsqueeze(1)
        return {"decay": self.decays(x_BTD).flatten(1), "strength": self.strengths(x_BTD).flatten(1)}

    def project_flops(self) -> int:
        decay = self.decay_AK if self.decay_KD is None else self.decay_KD
        return super().project_flops() + 2 * (self.W_g_HD.numel() + decay.numel())

    def flops_per_step(self) -> int:
        return super().flops_per_step() + (0 if self.decay_KD is None else 2 * self.decay_AK.numel())  # (5)

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N = self.inputs, self.width, self.heads
        K, by_channel = H // N, self.decay_KD is not None
        decays = H if by_channel else N
        decay = (
            Weight(self, "decay_AK", (decays, K if by_channel else D)),
            Weight(self, "rate_A", (decays,)),
            Weight(self, "log_A_N", (N,)),
            Weight(self, "W_g_HD", (H, D)),
            Weight(self, "decay_KD", (K, D)) if by_channel else None,
        )
        return self.delta_spec(decay, decays)


def first_of(steps: int, alpha_BTNK: Tensor) -> Tensor:
    """Return decays (B, steps · T, N, K) that act at the first of so many steps per token, and are 1 at the others."""
    if steps == 1:
        return alpha_BTNK
    others = torch.ones_like(alpha_BTNK).unsqueeze(2).expand(-1, -1, steps - 1, -1, -1)
    return torch.cat([alpha_BTNK.unsqueeze(2), others], 2).flatten(1, 2)


def inverse_softplus_of_log_uniform(count: int) -> Tensor:
    """Return `count` numbers whose softplus is log-uniform from `MIN_RATE` to `MAX_RATE`."""
    rate = torch.empty(count).uniform_(math.log(MIN_RATE), math.log(MAX_RATE)).exp()
    return rate + torch.log(-torch.expm1(-rate))
