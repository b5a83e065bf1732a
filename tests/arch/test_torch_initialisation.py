"""The initialisation `torch`: the biases start and move as the two biases per gate of `torch.nn` do."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import arch
from bench.training.optimizer import optimizer_of
from results import Protocol

SAME = 2e-5
"""Tolerance after some steps of Adam in float32, whose division amplifies rounding errors of small gradients."""
STEPS, RATE = 8, 1e-2


def built(spec: str, **sizes: Any) -> arch.SequenceModel:
    return arch.build(spec, channels=3, outputs=2, width=5, depth=1, seed=0, **sizes)


@pytest.mark.parametrize(("name", "module", "W", "U", "b"), [
    ("lstm", nn.LSTM, "W_GD", "U_GH", "b_G"),
    ("rnn", nn.RNN, "W_HD", "U_HH", "b_H"),
])  # fmt: skip
def test_a_model_trains_as_the_module_of_torch(name: str, module: type[nn.Module], W: str, U: str, b: str) -> None:
    """The rows of an LSTM have the order i, f, g, o in both."""
    model = built(f"{name}:init=torch")
    layer, theirs = model.layers[0], module(3, 5, batch_first=True)
    readout = nn.Linear(5, 2)
    readout.load_state_dict(model.readout.state_dict())
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(getattr(layer, W))  # type: ignore[operator, union-attr]
        theirs.weight_hh_l0.copy_(getattr(layer, U))  # type: ignore[operator, union-attr]
        getattr(layer, b).copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)  # type: ignore[operator]
    ours = optimizer_of(model, Protocol(steps=1, learning_rate=RATE))
    other = torch.optim.Adam([*theirs.parameters(), *readout.parameters()], lr=RATE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x_BTD = torch.randn(4, 6, 3, generator=generator)
        target_BTO = torch.randn(4, 6, 2, generator=generator)
        for optimizer, outputs in ((ours, model(x_BTD)), (other, readout(theirs(x_BTD)[0]))):
            optimizer.zero_grad()
            (outputs - target_BTO).square().mean().backward()
            optimizer.step()
    bias = theirs.bias_ih_l0 + theirs.bias_hh_l0  # type: ignore[operator]
    assert (getattr(layer, b) - bias).abs().max() < SAME
    assert (getattr(layer, U) - theirs.weight_hh_l0).abs().max() < SAME  # type: ignore[operator]


@pytest.mark.parametrize(("spec", "bias", "summed"), [("lstm", "b_G", 4), ("rnn", "b_H", 1), ("gru", "b_G", 2)])
def test_the_initial_biases_have_the_spread_of_a_sum_of_two(spec: str, bias: str, summed: int) -> None:
    """The variance of U(-s, s) is s²/3. A GRU of torch sums the biases of r and z only."""
    width = 4_000
    for init, factor in (("default", 1), ("torch", 2)):
        layer = arch.build(f"{spec}:init={init}", channels=1, outputs=1, width=width, depth=1, seed=0).layers[0]
        rows = getattr(layer, bias).detach().split(width)
        variances = [row.var().item() * 3 * width for row in rows]
        expected = [factor] * summed + [1] * (len(rows) - summed)
        assert variances == pytest.approx(expected, rel=0.1), init
        assert max(row.abs().max().item() for row in rows[:summed]) <= factor / math.sqrt(width)


@pytest.mark.parametrize("spec", ["lstm", "gru", "rnn"])
def test_only_the_initialisation_torch_has_a_larger_step(spec: str) -> None:
    rates = {
        init: sorted(
            {
                group.learning_rate
                for group in optimizer_of(built(f"{spec}:init={init}"), Protocol(steps=1, learning_rate=0.01)).groups
            }
        )
        for init in ("default", "orthogonal", "torch")
    }
    assert rates == {"default": [0.01], "orthogonal": [0.01], "torch": [0.01, 0.02]}
    without_bias = optimizer_of(built(f"{spec}:bias=False,init=torch"), Protocol(steps=1, learning_rate=0.01))
    assert without_bias.groups[0].learning_rate == 0.01
