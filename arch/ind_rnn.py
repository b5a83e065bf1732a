"""IndRNN: an RNN whose units do not see each other. Each unit has one recurrent weight.

The source is Li et al. 2018, "Independently Recurrent Neural Network". x is the input, h the previous output and h' the
next output:

    h' = φ(W x + u ⊙ h + b)     (1)  φ is tanh or relu

    FLOPs per step: 2 H D                                                                (2)
    numbers moved per step: H (D + 2) weights, 2 H of state; H fewer without bias        (3)

The gradient of h after n steps with respect to h is at most |u|ⁿ per unit, so u starts in [0, 1] or [-1, 1]. The
recurrence is diagonal, but it is not linear. Units mix in the next layer only.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions
from arch.core.memory.projection import project_one
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class IndRNNState(NamedTuple):
    """The state of an IndRNN layer: the last output h (B, H)."""

    h_BH: Tensor


class IndRNN(RecurrentLayer):
    """A layer of independent recurrent units.

    Args:
        inputs: Input width D.
        width: Output width H.
        nonlinearity: φ of equation (1): `tanh` or `relu`. The experiments of the source use relu.
        signed: Whether u starts uniform in [-1, 1]. Otherwise, it starts uniform in [0, 1].
        bias: Whether to learn the bias b. `False` omits it.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).
    """

    family = "diagonal"
    default_block = BlockOptions()

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        signed: bool = False,
        bias: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.nonlinearity = nonlinearity
        self.backend = backend
        bound = 1 / math.sqrt(inputs)  # as in torch.nn.Linear
        self.W_HD = nn.Parameter(torch.empty(width, inputs).uniform_(-bound, bound))
        self.b_H = nn.Parameter(torch.empty(width).uniform_(-bound, bound)) if bias else None
        self.u_H = nn.Parameter(torch.empty(width).uniform_(-1 if signed else 0, 1))

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_HD.shape[-1]

    def project_flops(self) -> int:
        return 2 * self.W_HD.numel()  # (2)

    def update_flops(self) -> int:
        return 0  # u ⊙ h is element-wise

    def step_bytes(self, position: int) -> int:
        H, D = self.W_HD.shape
        return H * (D + 1 + (self.b_H is not None) + 2) * element_bytes(self)  # (3)

    def init_state(self, batch: int) -> IndRNNState:
        return IndRNNState(self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_HD, self.b_H)

    def update(self, projected_BH: Tensor, state: IndRNNState) -> tuple[Tensor, IndRNNState]:
        h_BH = self._update(projected_BH, self.u_H, state.h_BH)
        return h_BH, IndRNNState(h_BH)

    def _update(self, projected_BH: Tensor, u_H: Tensor, h_BH: Tensor) -> Tensor:
        total_BH = projected_BH + u_H * h_BH
        return total_BH.tanh() if self.nonlinearity == "tanh" else total_BH.relu()  # (1)

    def fuse(self, x_TBD: Tensor, state: IndRNNState) -> tuple[Tensor, IndRNNState]:
        from arch.kernels.training import diagonal

        def reference(projected_TBH: Tensor, _values: Tensor, u_1H: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
            outputs = []
            for projected_BH in projected_TBH:
                h_BH = self._update(projected_BH, u_1H[0], h_BH)
                outputs.append(h_BH)
            return torch.stack(outputs), h_BH

        cell = diagonal.IND_RNN_TANH if self.nonlinearity == "tanh" else diagonal.IND_RNN_RELU
        projected_TBH = project_one(x_TBD, self.W_HD, self.b_H, backend="fused")
        inputs = diagonal.Inputs(projected_TBH, state.h_BH, weights=self.u_H[None])
        h_TBH, h_BH = diagonal.scan(reference, cell, inputs)
        return h_TBH, IndRNNState(h_BH)

    def gates(self, x_BD: Tensor, state: IndRNNState) -> dict[str, Tensor]:
        """Return u as `decay`, (B, H). It is the same at every step.

        The state keeps at most the share |u|, because the slope of φ is at most 1.
        """
        return {"decay": self.u_H.expand(len(x_BD), -1)}

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        H, D = self.W_HD.shape
        b_H = None if self.b_H is None else Weight(self, "b_H", (H,))
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H),
            weights=(Weight(self, "W_HD", (H, D)), b_H, Weight(self, "u_H", (H,))),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, IndRNNState, batch, H),
            cell=LayerStep(_load_tanh_step if self.nonlinearity == "tanh" else _load_relu_step),
        )


def _load_tanh_step() -> object:
    from arch.kernels.streaming.diagonal_step import ind_rnn_tanh

    return ind_rnn_tanh


def _load_relu_step() -> object:
    from arch.kernels.streaming.diagonal_step import ind_rnn_relu

    return ind_rnn_relu
