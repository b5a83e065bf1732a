"""Light GRU: a GRU without a reset gate. The plugin brings its own compiled cell, so its streams run compiled.

The source is Ravanelli et al. 2018, "Light Gated Recurrent Units for Speech Recognition", without batch normalisation
and with tanh instead of ReLU. A step maps the input x and the previous output h to the next output h':

    z  = σ(W_z x + U_z h + b_z)          (1)  update gate
    n  = tanh(W_n x + U_n h + b_n)       (2)  candidate
    h' = z * h + (1 - z) * n             (3)

The equations stand twice: `update` writes them with torch operations for training, and `cell` for the compiled stream.
Carousel compares the two before it times a model:

    carousel validate --plugin examples/light_gru.py
    carousel run quick --plugin examples/light_gru.py -a +light_gru
"""

# Shape suffixes: B batch, D input width, H hidden width, G = 2H rows: z, then n

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch import CompiledCell, RecurrentLayer
from arch.kernels.cells import fma, sigmoid, tanh


class LightGRUState(NamedTuple):
    h_BH: Tensor


@CompiledCell(gates=2, states=1)
def cell(sums: Any, state: Any) -> Any:
    """Return h' as vectors of units. `sums` are W x + U h + b of z and n."""
    z, n = sigmoid(sums[0]), tanh(sums[1])  # (1), (2)
    return (fma(z, state[0] - n, n),)  # (3)


class LightGRU(RecurrentLayer):
    """A light gated recurrent unit layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        bias: Whether the layer has biases b_z and b_n.
    """

    def __init__(self, inputs: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.width = width
        self.backend = "auto"  # streams run the cell, and scans the equations
        scale = width**-0.5
        self.W_GD = nn.Parameter(torch.empty(2 * width, inputs).uniform_(-scale, scale))
        self.U_GH = nn.Parameter(torch.empty(2 * width, width).uniform_(-scale, scale))
        self.b_G = nn.Parameter(torch.zeros(2 * width)) if bias else None

    def init_state(self, batch: int) -> LightGRUState:
        return LightGRUState(self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G)

    def update(self, projected_BG: Tensor, state: LightGRUState) -> tuple[Tensor, LightGRUState]:
        z_BH, n_BH = torch.addmm(projected_BG, state.h_BH, self.U_GH.T).chunk(2, 1)
        z_BH, n_BH = z_BH.sigmoid(), n_BH.tanh()  # (1), (2)
        h_BH = z_BH * state.h_BH + (1 - z_BH) * n_BH  # (3)
        return h_BH, LightGRUState(h_BH)

    def streaming_spec(self) -> Any:
        return cell.spec(self, W="W_GD", b="b_G", U="U_GH", state=LightGRUState)

    def gates(self, x_BD: Tensor, state: LightGRUState) -> dict[str, Tensor]:
        z_BH, _ = torch.addmm(self.project(x_BD), state.h_BH, self.U_GH.T).chunk(2, 1)
        return {"update": z_BH.sigmoid()}
