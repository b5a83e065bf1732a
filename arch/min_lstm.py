"""minLSTM: an LSTM whose gates depend only on the input, and whose two gates share the new state.

The source is Feng et al. 2024, "Were RNNs All We Needed?", appendix B, with length independence scaling. The function g
keeps the candidate positive:

    g(n) = n + 1/2 if n ≥ 0, else σ(n)

A step maps the input x and the previous output h to the next output h':

    f  = σ(W_f x + b_f)                   (1)  forget gate
    i  = σ(W_i x + b_i)                   (2)  input gate
    n  = g(W_n x + b_n)                   (3)  candidate, positive
    f̂  = f / (f + i),  î = i / (f + i)    (4)  the gates scaled to the sum 1
    h' = f̂ ⊙ h + î ⊙ n                    (5)  initial state h = g(0) = 1/2

    FLOPs per step: 6 H D                                                                (6)
    numbers moved per step: 3 H (D + 1) weights, 2 H of state                            (7)

f̂ = σ(log f - log i), which neither overflows nor divides by zero. `arch.core.diagonal` computes (5) for all steps.
W and b contain three blocks of H rows each, in the order f, i, n. Without biases and with a zero `forget_bias`, (7) has
3 H D weights.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G = 3H rows

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


class MinLSTMState(NamedTuple):
    """The state of a minLSTM layer: the last output h (B, H)."""

    h_BH: Tensor


class MinLSTM(DiagonalLayer):
    """A minimal long short-term memory layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        bias: Whether to learn the biases. `False` leaves only the constant `forget_bias`.
        forget_bias: Number added to the forget gate's initial bias. Large ones make a new layer forget slowly, which
            speeds up training in figure 5 of the source.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands in a residual block by default: block=residual, conv=4, expansion=2 (see `arch.core.block`).
    """

    family = "diagonal"
    default_block = BlockOptions(block="residual", conv=4, expansion=2)

    def __init__(
        self, inputs: int, width: int, *, bias: bool = True, forget_bias: float = 0.0, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.width = width
        self.backend = backend
        bound = 1 / math.sqrt(inputs)  # as in torch.nn.Linear
        self.W_GD = nn.Parameter(torch.empty(3 * width, inputs).uniform_(-bound, bound))
        self.b_G = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound)) if bias else None
        offset_G = torch.zeros(3, width)
        offset_G[0] = forget_bias
        if self.b_G is not None:
            self.b_G.data += offset_G.flatten()
        has_offset = self.b_G is None and forget_bias != 0
        self.register_buffer("offset_G", offset_G.flatten() if has_offset else None)

    offset_G: Tensor | None
    """A constant in the place of the learned biases, or None."""

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    def project_flops(self) -> int:
        return 2 * self.W_GD.numel()  # (6)

    def step_bytes(self, position: int) -> int:
        has_offsets = self.b_G is not None or self.offset_G is not None
        G, D = self.W_GD.shape
        return (G * (D + has_offsets) + 2 * self.width) * element_bytes(self)  # (7)

    def init_state(self, batch: int) -> MinLSTMState:
        return MinLSTMState(self.empty(batch, self.width) + 0.5)

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self._bias())

    def _bias(self) -> Tensor | None:
        """Return what is added to the product with the weights (G,), or None."""
        return self.b_G if self.offset_G is None else self.offset_G

    def coefficients(self, projected_BTG: Tensor) -> tuple[Tensor, Tensor]:
        """Return f̂ and î ⊙ n of equation (5), each (B, T, H)."""
        f_BTH, i_BTH, n_BTH = projected_BTG.chunk(3, -1)
        log_ratio_BTH = functional.logsigmoid(f_BTH) - functional.logsigmoid(i_BTH)  # (1), (2)
        return log_ratio_BTH.sigmoid(), (-log_ratio_BTH).sigmoid() * positive(n_BTH)  # (3), (4), (5)

    def follow(self, projected_BTG: Tensor, state: MinLSTMState) -> tuple[Tensor, MinLSTMState]:
        h_BTH = recur(*self.coefficients(projected_BTG), state.h_BH)
        return h_BTH, MinLSTMState(h_BTH[:, -1].clone())

    def fuse(self, x_TBD: Tensor, state: MinLSTMState) -> tuple[Tensor, MinLSTMState]:
        from arch.kernels.training import diagonal

        def reference(projected_TBG: Tensor, _values: Tensor, _weights: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
            h_BTH, last = self.follow(projected_TBG.transpose(0, 1), MinLSTMState(h_BH))
            return h_BTH.transpose(0, 1), last.h_BH

        projected_TBG = project_one(x_TBD, self.W_GD, self._bias(), backend="fused")
        inputs = diagonal.Inputs(projected_TBG, state.h_BH)
        h_TBH, h_BH = diagonal.scan(reference, diagonal.MIN_LSTM, inputs)
        return h_TBH, MinLSTMState(h_BH)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        H, (G, D) = self.width, self.W_GD.shape
        name = "offset_G" if self.offset_G is not None else None if self.b_G is None else "b_G"
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H),
            weights=(Weight(self, "W_GD", (G, D)), None if name is None else Weight(self, name, (G,))),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, MinLSTMState, batch, H),
            cell=LayerStep(_load_step),
        )

    def gates(self, x_BD: Tensor, state: MinLSTMState) -> dict[str, Tensor]:
        f_BH, i_BH, n_BH = self.project(x_BD).chunk(3, -1)
        log_ratio_BH = functional.logsigmoid(f_BH) - functional.logsigmoid(i_BH)
        return {
            "forget": log_ratio_BH.sigmoid(),
            "input": (-log_ratio_BH).sigmoid(),
            "candidate": positive(n_BH),
        }


def _load_step() -> object:
    from arch.kernels.streaming.diagonal_step import min_lstm

    return min_lstm
