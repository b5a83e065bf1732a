"""DeltaNet: a matrix memory that replaces what it holds for a key, by the delta rule.

The layer is that of Yang et al. 2024. With `householders=n` it is DeltaProduct (Siems et al. 2025). The rule is that of
Widrow & Hoff 1960, first used for fast weights by Schlag et al. 2021. x is the input. Equations (1) to (3) of
`arch.core.memory.delta_rule` give its query q, its keys k_j of norm 1, its values v_j and their strengths β_j. Per
head, with S_0 the memory before the token:

    S_j = (I - β_j k_j k_jᵀ) S_(j-1) + β_j k_j v_jᵀ      (1)  for j = 1 … n; S is (K, K), keys times values
    y   = W_o norm(S_nᵀ q)                               (2)  RMS norm per head

The transition of a token is a product of n matrices with the eigenvalues 1 and 1 - β_j. With `negative=True`, β lies
in (0, 2), and a token can reflect. Tracking a state such as parity needs this (Grazzi et al. 2025). With n reflections,
a token can apply any orthogonal matrix that differs from I in n dimensions.

    FLOPs per step: 2 D C + 2 D n N for the projections, C = (1 + 2n) H; 8 C for the convolution;
        (6n + 2) H K for (1) and the read; 2 H² for W_o                                                (3)
    numbers moved per step: all weights; H K of memory and 3 C of inputs, read and written             (4)
"""

# Shape suffixes: B batch, T tokens, S = n T steps, D input width, H width, N heads, K head width

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from arch.core import matrix_memory
from arch.core.backend import Backend
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.delta_rule import DeltaLayer, DeltaState
from arch.core.memory.heads import rms_norm, uniform
from arch.core.memory.projection import project_one
from arch.core.streaming_spec import StreamingSpec


class DeltaNet(DeltaLayer):
    """A layer of matrix memories with the delta rule.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of it.
        negative: Whether β lies in (0, 2), so that transitions have negative eigenvalues. Otherwise it lies in (0, 1).
        householders: Number of steps n per token, each with a key and a value. More than one is DeltaProduct.
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
        negative: bool = False,
        householders: int = 1,
        conv: int = 4,
        backend: Backend = "auto",
    ) -> None:
        super().__init__(
            inputs, width, heads=heads, negative=negative, householders=householders, conv=conv, backend=backend
        )
        self.gain_K = nn.Parameter(torch.ones(width // heads))
        self.W_HH = uniform(width, width)

    def scan(self, x_BTD: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        require_steps(x_BTD)
        q_BTNK, k_BSNK, v_BSNK, beta_BSN1, inputs_BLC, _ = self.writes(x_BTD, state)
        y_BTNK, memory_BNKV = matrix_memory.scan(
            q_BTNK,
            k_BSNK,
            v_BSNK,
            state.memory_BNKV,
            correction=(k_BSNK, None),
            strength=beta_BSN1,
            reads_every=self.householders,
            backend=self.backend,
        )  # (1)
        normed_BTH = rms_norm(y_BTNK, self.gain_K, backend=self.backend)
        y_BTH = project_one(normed_BTH, self.W_HH, backend=self.backend)  # (2)
        return y_BTH, DeltaState(memory_BNKV, inputs_BLC)

    def gates(self, x_BD: Tensor, state: DeltaState) -> dict[str, Tensor]:
        """Return β of each step and head as `strength`, (B, n · N). It lies in (0, 2) with `negative=True`."""
        return {"strength": self.strengths(x_BD.unsqueeze(1)).flatten(1)}

    def streaming_spec(self) -> StreamingSpec | None:
        return self.delta_spec()
