"""Leaky integrator: units that average their inputs over time, each over its own learned time scale.

A step maps the input x and the previous state h to the next state h', which is also the output:

    n  = tanh(W x + b)                  (1)  what a unit sees
    a  = σ(r)                           (2)  share of h that is kept, the same at every step
    h' = a * h + (1 - a) * n            (3)

`scan` computes all steps without a loop over them. By (3), h is a sum over all earlier steps:

    h_t = (1 - a) * (n_t + a * n_(t-1) + a² * n_(t-2) + ...)        (4)

The code adds the sum of the step before to the sum of each step, then that of two steps before, then four, and so on
(Hillis & Steele 1986, "Data parallel algorithms"). After log2(T) passes, each sum reaches back to the first step.

As a plugin, this file adds the architecture `leaky_integrator`:

    carousel validate --plugin examples/leaky_integrator.py
    carousel run quick --plugin examples/leaky_integrator.py -a +leaky_integrator
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from arch import Layer


class LeakyIntegratorState(NamedTuple):
    h_BH: Tensor


class LeakyIntegrator(Layer):
    """A layer of leaky integrators.

    Args:
        inputs: Input width D.
        width: Output width H.
        bias: Whether the layer has a bias b.
    """

    def __init__(self, inputs: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.width = width
        self.seen = nn.Linear(inputs, width, bias=bias)
        self.rate_H = nn.Parameter(torch.linspace(-1, 5, width))

    def init_state(self, batch: int) -> LeakyIntegratorState:
        return LeakyIntegratorState(self.empty(batch, self.width))

    def step(self, x_BD: Tensor, state: LeakyIntegratorState) -> tuple[Tensor, LeakyIntegratorState]:
        n_BH, a_H = self.seen(x_BD).tanh(), self.rate_H.sigmoid()  # (1), (2)
        h_BH = a_H * state.h_BH + (1 - a_H) * n_BH  # (3)
        return h_BH, LeakyIntegratorState(h_BH)

    def scan(self, x_BTD: Tensor, state: LeakyIntegratorState) -> tuple[Tensor, LeakyIntegratorState]:
        n_BTH, a_H = self.seen(x_BTD).tanh(), self.rate_H.sigmoid()  # (1), (2)
        written_BTH = (1 - a_H) * n_BTH
        sum_BTH = torch.cat([written_BTH[:, :1] + (a_H * state.h_BH)[:, None], written_BTH[:, 1:]], 1)
        distance, power_H = 1, a_H
        while distance < x_BTD.shape[1]:  # (4)
            sum_BTH = torch.cat([sum_BTH[:, :distance], sum_BTH[:, distance:] + power_H * sum_BTH[:, :-distance]], 1)
            distance, power_H = 2 * distance, power_H.square()
        return sum_BTH, LeakyIntegratorState(sum_BTH[:, -1])

    def gates(self, x_BD: Tensor, state: LeakyIntegratorState) -> dict[str, Tensor]:
        return {"update": self.rate_H.sigmoid().expand(len(x_BD), -1)}
