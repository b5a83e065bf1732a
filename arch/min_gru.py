"""minGRU: a GRU whose gate depends only on the input. A whole sequence is computed in one parallel scan.

The source is Feng et al. 2024, "Were RNNs All We Needed?". The function g keeps the candidate positive:

    g(n) = n + 1/2 if n ≥ 0, else σ(n)

A step maps the input x and the previous output h to the next output h':

    z  = σ(W_z x + b_z)                            (1)  write gate
    n  = W_n x + b_n                               (2)  candidate
    h' = (1 - z) ⊙ h + z ⊙ g(n)                    (3)  appendix B; initial state h = g(0) = 1/2
    h' = (1 - z) ⊙ tanh(W_s x + b_s) ⊙ h + z ⊙ n   (4)  with `signed`: appendix A, with a sign; initial state h = 0

    FLOPs per step: 2 G D                                        (5)  G = 2H rows, or 3H with `signed`
    numbers moved per step: G (D + 1) weights, 2 H of state      (6)  without bias, G D weights

With (3), a unit can only decay. With (4), it can also change its sign at each step, which counting modulo 2 needs
(Grazzi et al. 2025, "Unlocking state-tracking in linear RNNs through negative eigenvalues").
`arch.core.diagonal` computes (3) and (4) for all steps. The source adds up logarithms instead. In float32, that sum
loses digits as it grows: 1% of h after 65,536 steps.

W and b contain blocks of H rows in the order z, n, s.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G = 2H or 3H rows

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.diagonal import DiagonalLayer, positive, recur
from arch.core.layer import BlockOptions
from arch.core.memory.projection import project_one
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class MinGRUState(NamedTuple):
    """The state of a minGRU layer: the last output h (B, H)."""

    h_BH: Tensor


class MinGRU(DiagonalLayer):
    """A minimal gated recurrent unit layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        signed: Whether the share of h that is kept has a learned sign (4).
        bias: Whether to learn the biases. `False` omits them.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands in a residual block by default: block=residual, conv=4, expansion=2 (see `arch.core.block`).
    """

    family = "diagonal"
    default_block = BlockOptions(block="residual", conv=4, expansion=2)

    def __init__(
        self, inputs: int, width: int, *, signed: bool = False, bias: bool = True, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.width = width
        self.signed = signed
        self.backend = backend
        rows, bound = (3 if signed else 2) * width, 1 / math.sqrt(inputs)  # as in torch.nn.Linear
        self.W_GD = nn.Parameter(torch.empty(rows, inputs).uniform_(-bound, bound))
        self.b_G = nn.Parameter(torch.empty(rows).uniform_(-bound, bound)) if bias else None

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    def project_flops(self) -> int:
        return 2 * self.W_GD.numel()  # (5)

    def step_bytes(self, position: int) -> int:
        G, D = self.W_GD.shape
        return (G * (D + (self.b_G is not None)) + 2 * self.width) * element_bytes(self)  # (6)

    def init_state(self, batch: int) -> MinGRUState:
        h_BH = self.empty(batch, self.width)
        return MinGRUState(h_BH if self.signed else h_BH + 0.5)

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G)

    def coefficients(self, projected_BTG: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b (B, T, H) of h' = a ⊙ h + b, equation (3) or (4)."""
        if self.signed:
            z_BTH, n_BTH, s_BTH = projected_BTG.chunk(3, -1)
            z_BTH = z_BTH.sigmoid()  # (1)
            return (1 - z_BTH) * s_BTH.tanh(), z_BTH * n_BTH  # (4)
        z_BTH, n_BTH = projected_BTG.chunk(2, -1)
        z_BTH = z_BTH.sigmoid()  # (1)
        return 1 - z_BTH, z_BTH * positive(n_BTH)  # (3)

    def follow(self, projected_BTG: Tensor, state: MinGRUState) -> tuple[Tensor, MinGRUState]:
        h_BTH = recur(*self.coefficients(projected_BTG), state.h_BH)
        return h_BTH, MinGRUState(h_BTH[:, -1].clone())

    def fuse(self, x_TBD: Tensor, state: MinGRUState) -> tuple[Tensor, MinGRUState]:
        from arch.kernels.training import diagonal

        def reference(projected_TBG: Tensor, _values: Tensor, _weights: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
            h_BTH, last = self.follow(projected_TBG.transpose(0, 1), MinGRUState(h_BH))
            return h_BTH.transpose(0, 1), last.h_BH

        cell = diagonal.MIN_GRU_SIGNED if self.signed else diagonal.MIN_GRU
        projected_TBG = project_one(x_TBD, self.W_GD, self.b_G, backend="fused")
        h_TBH, h_BH = diagonal.scan(reference, cell, diagonal.Inputs(projected_TBG, state.h_BH))
        return h_TBH, MinGRUState(h_BH)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        H, (G, D) = self.width, self.W_GD.shape
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H),
            weights=(Weight(self, "W_GD", (G, D)), None if self.b_G is None else Weight(self, "b_G", (G,))),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, MinGRUState, batch, H),
            cell=LayerStep(_load_signed_step if self.signed else _load_step),
        )

    def gates(self, x_BD: Tensor, state: MinGRUState) -> dict[str, Tensor]:
        """Return 1 - z as `update` and g(n) as `candidate`. With signs, return a as `decay`, z as `input` and n."""
        z_BH, n_BH, *s_BH = self.project(x_BD).split(self.width, -1)
        if self.signed:
            z_BH = z_BH.sigmoid()
            return {"decay": (1 - z_BH) * s_BH[0].tanh(), "input": z_BH, "candidate": n_BH}  # (4)
        return {"update": 1 - z_BH.sigmoid(), "candidate": positive(n_BH)}


def _load_step() -> object:
    from arch.kernels.streaming.diagonal_step import min_gru

    return min_gru


def _load_signed_step() -> object:
    from arch.kernels.streaming.diagonal_step import min_gru_signed

    return min_gru_signed
