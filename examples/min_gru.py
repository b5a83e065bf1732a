"""minGRU: a GRU whose gate depends only on the input. A whole sequence is computed in one parallel scan.

The source is Feng et al. 2024, "Were RNNs All We Needed?", in the log-space form of appendix B. The function g keeps
the candidate n positive:

    g(x) = x + 1/2 if x ≥ 0, else σ(x)

A step maps the input x and the previous output h to the next output h':

    z  = σ(W_z x + b_z)                  (1)  write gate
    n  = g(W_n x + b_n)                  (2)  candidate, positive
    h' = (1 - z) * h + z * n             (3)  initial state h = g(0) = 1/2

Equation (3) is linear in h. All steps are therefore computed at once as a sum in log space:

    a_t      = Σ_{s ≤ t} log(1 - z_s)                                          (4)
    log h_t  = a_t + log(h_0 + Σ_{s ≤ t} exp(log z_s + log n_s - a_s))         (5)

As a plugin, this file adds the architecture `min_gru`:

    carousel validate --plugin examples/min_gru.py
    carousel run quick --plugin examples/min_gru.py -a +min_gru
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G = 2H rows: z, then n

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        log_z_BTH, log_keep_BTH = functional.logsigmoid(write_BTH), functional.logsigmoid(-write_BTH)
        log_n_BTH = torch.where(  # (2); relu keeps log(0) out of the gradient of the unused branch
            candidate_BTH >= 0, (candidate_BTH.relu() + 0.5).log(), functional.logsigmoid(candidate_BTH)
        )
        a_BTH = log_keep_BTH.cumsum(1)  # (4)
        terms_BTH = torch.cat([state.h_BH.log()[:, None], log_z_BTH + log_n_BTH - a_BTH], 1)
        h_BTH = (a_BTH + terms_BTH.logcumsumexp(1)[:, 1:]).exp()  # (5)
        return h_BTH, MinGRUState(h_BTH[:, -1])

    def gates(self, x_BD: Tensor, state: MinGRUState) -> dict[str, Tensor]:
        write_BH, _ = self.gates_and_candidate(x_BD).chunk(2, -1)
        return {"update": 1 - write_BH.sigmoid()}
