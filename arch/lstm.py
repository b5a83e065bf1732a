"""LSTM: an additive memory cell with gates for writing, forgetting and reading.

The source is Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000. There are no
peepholes. x is the input, h the previous output and c the previous cell.

    i  = σ(W_i x + U_i h + b_i)           (1)  input gate
    f  = σ(W_f x + U_f h + b_f)           (2)  forget gate
    g  = tanh(W_g x + U_g h + b_g)        (3)  candidate
    o  = σ(W_o x + U_o h + b_o)           (4)  output gate
    c' = f * c + i * g                    (5)  cell, the constant error carousel
    h' = o * tanh(c')                     (6)  output

    FLOPs per step: 8 H (D + H)                                        (7)
    numbers moved per step: 4 H (D + H + 1) weights, 4 H of state      (8)

W, U and b contain four blocks of H rows each, in the order i, f, g, o. Without b and without a constant
`forget_bias`, (8) has 4 H (D + H) weights.
"""

# Shape suffixes: B batch, D input width, H hidden width, G = 4H gate rows

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.initialisation import Initialisation, initialise
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class LSTMState(NamedTuple):
    """The state of an LSTM layer: the last output h and the cell c, each (B, H)."""

    h_BH: Tensor
    c_BH: Tensor


class LSTM(RecurrentLayer):
    """A long short-term memory layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        forget_bias: Number added to the forget gate's pre-activation (Gers et al. 2000). Jozefowicz et al. 2015 use 1.
            The number is added to the initial b_f if `bias` is true. If `bias` is false, the number stays constant.
        bias: Whether to learn b. `False` omits it.
        init: Initialisation of the weights: `default` or `orthogonal` (see `arch.core.initialisation`).
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).
    """

    family = "nonlinear"

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        forget_bias: float = 0.0,
        bias: bool = True,
        init: Initialisation = "default",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.backend = backend
        self.W_GD = nn.Parameter(torch.empty(4 * width, inputs))
        self.U_GH = nn.Parameter(torch.empty(4 * width, width))
        self.b_G = nn.Parameter(torch.empty(4 * width)) if bias else None
        initialise(init, self.W_GD, self.U_GH, self.b_G)
        offset_G = torch.zeros(4, width)
        offset_G[1] = forget_bias
        if self.b_G is not None:
            self.b_G.data += offset_G.flatten()
        has_offset = self.b_G is None and forget_bias != 0
        self.register_buffer("offset_G", offset_G.flatten() if has_offset else None)

    offset_G: Tensor | None

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    def project_flops(self) -> int:
        return 8 * self.width * self.W_GD.shape[1]  # (7)

    def update_flops(self) -> int:
        return 8 * self.width**2  # (7)

    def step_bytes(self, position: int) -> int:
        H, D = self.width, self.W_GD.shape[1]
        has_offsets = self.b_G is not None or self.offset_G is not None
        return (4 * H * (D + H + has_offsets) + 4 * H) * element_bytes(self)  # (8)

    def init_state(self, batch: int) -> LSTMState:
        return LSTMState(self.empty(batch, self.width), self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G if self.offset_G is None else self.offset_G)

    def activations(self, projected_BG: Tensor, state: LSTMState) -> tuple[Tensor, ...]:
        """Return i, f, g and o of equations (1) to (4), each (B, H)."""
        i, f, g, o = torch.addmm(projected_BG, state.h_BH, self.U_GH.T).chunk(4, 1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    def update(self, projected_BG: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        i_BH, f_BH, g_BH, o_BH = self.activations(projected_BG, state)  # (1)-(4)
        c_BH = f_BH * state.c_BH + i_BH * g_BH  # (5)
        h_BH = o_BH * c_BH.tanh()  # (6)
        return h_BH, LSTMState(h_BH, c_BH)

    def fuse(self, x_TBD: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        from arch.kernels.training import lstm

        def reference(x_TBD: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            outputs_TBH, state = self.unroll(self.project(x_TBD), LSTMState(*inputs[-2:]), 0)
            return outputs_TBH, *state

        bias_G = self.b_G if self.offset_G is None else self.offset_G
        bias_G = self.empty(4 * self.width) if bias_G is None else bias_G
        outputs_TBH, h_BH, c_BH = lstm.scan(reference, x_TBD, self.W_GD, bias_G, self.U_GH, *state)
        return outputs_TBH, LSTMState(h_BH, c_BH)

    def kernel_weights(self) -> tuple[Weight, ...]:
        H, D = self.width, self.inputs
        name = "offset_G" if self.offset_G is not None else None if self.b_G is None else "b_G"
        bias = () if name is None else (Weight(self, name, (4 * H,)),)
        return Weight(self, "W_GD", (4 * H, D)), *bias, Weight(self, "U_GH", (4 * H, H))

    def streaming_spec(self) -> StreamingSpec | None:
        width = self.width
        W_GD, *bias_G, U_GH = self.kernel_weights()
        return StreamingSpec(
            kind="lstm",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width),
            weights=(W_GD, bias_G[0] if bias_G else None, U_GH),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, LSTMState, batch, width),
        )

    def gates(self, x_BD: Tensor, state: LSTMState) -> dict[str, Tensor]:
        names = ("input", "forget", "candidate", "output")
        return dict(zip(names, self.activations(self.project(x_BD), state), strict=True))
