"""minGRU: a GRU whose gate depends only on the input. A whole sequence is computed in one parallel scan.

The source is Feng et al. 2024, "Were RNNs All We Needed?", with the equations of appendix B. The function g keeps the
candidate n positive:

    g(x) = x + 1/2 if x ≥ 0, else σ(x)

A step maps the input x and the previous output h to the next output h':

    z  = σ(W_z x + b_z)                  (1)  write gate
    n  = g(W_n x + b_n)                  (2)  candidate, positive
    h' = (1 - z) * h + z * n             (3)  initial state h = g(0) = 1/2

Equation (3) has the form h' = a * h + b. Two such maps in a row are one map of the same form:

    a_2 * (a_1 * h + b_1) + b_2  =  (a_2 * a_1) * h + (a_2 * b_1 + b_2)        (4)

`scan` combines every map with the one before it, then every result with the one two steps before it, then four steps,
and so on. After log2(T) passes, the map of every step starts at the initial state (Hillis & Steele 1986, "Data parallel
algorithms"). The appendix adds up logarithms instead. In float32, that sum loses digits as it grows: 1% of h after
65,536 steps. Here all numbers are positive and none grows, so that the rounding errors stay small.

As a plugin, this file adds the architecture `min_gru`:

    carousel validate --plugin examples/min_gru.py
    carousel run quick --plugin examples/min_gru.py -a +min_gru
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G = 2H rows: z, then n

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from arch import Layer


class MinGRUState(NamedTuple):
    h_BH: Tensor


class MinGRU(Layer):
    """A minimal gated recurrent unit layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        bias: Whether the layer has biases b_z and b_n.
    """

    def __init__(self, inputs: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.width = width
        self.gates_and_candidate = nn.Linear(inputs, 2 * width, bias=bias)

    def init_state(self, batch: int) -> MinGRUState:
        return MinGRUState(self.empty(batch, self.width) + 0.5)

    def step(self, x_BD: Tensor, state: MinGRUState) -> tuple[Tensor, MinGRUState]:
        write_BH, candidate_BH = self.gates_and_candidate(x_BD).chunk(2, -1)
        z_BH = write_BH.sigmoid()  # (1)
        n_BH = torch.where(candidate_BH >= 0, candidate_BH + 0.5, candidate_BH.sigmoid())  # (2)
        h_BH = (1 - z_BH) * state.h_BH + z_BH * n_BH  # (3)
        return h_BH, MinGRUState(h_BH)

    def scan(self, x_BTD: Tensor, state: MinGRUState) -> tuple[Tensor, MinGRUState]:
        write_BTH, candidate_BTH = self.gates_and_candidate(x_BTD).chunk(2, -1)
        z_BTH = write_BTH.sigmoid()  # (1)
        n_BTH = torch.where(candidate_BTH >= 0, candidate_BTH + 0.5, candidate_BTH.sigmoid())  # (2)
        a_BTH, b_BTH = 1 - z_BTH, z_BTH * n_BTH  # (3)
        distance = 1
        while distance < x_BTD.shape[1]:  # (4)
            later_BTH = a_BTH[:, distance:]
            b_BTH = torch.cat([b_BTH[:, :distance], later_BTH * b_BTH[:, :-distance] + b_BTH[:, distance:]], 1)
            a_BTH = torch.cat([a_BTH[:, :distance], later_BTH * a_BTH[:, :-distance]], 1)
            distance *= 2
        h_BTH = a_BTH * state.h_BH[:, None] + b_BTH
        return h_BTH, MinGRUState(h_BTH[:, -1])

    def gates(self, x_BD: Tensor, state: MinGRUState) -> dict[str, Tensor]:
        write_BH, _ = self.gates_and_candidate(x_BD).chunk(2, -1)
        return {"update": 1 - write_BH.sigmoid()}
