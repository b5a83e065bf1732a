"""What the tests of the kernels share: layers with a kernel, and when two results are the same."""

from __future__ import annotations

import torch
from torch import Tensor

import arch
from arch import RecurrentLayer

SPECS = [
    "rnn",
    "rnn:nonlinearity=relu,init=orthogonal",
    "rnn:bias=False",
    "gru",
    "gru:bias=False",
    "gru:reset=before",
    "lstm",
    "lstm:bias=False,forget_bias=1",
]

RELATIVE_TOLERANCE = 1e-5
"""Of each tensor's largest number. The two ways of summing differ by about √(terms) roundings of 6e-8; the
worst of the sums here has some thousand terms. A wrong factor or a missing term shows at 1e-2 and more."""


def layer_of(spec: str, inputs: int, width: int, backend: str = "fused") -> RecurrentLayer:
    chosen = arch.get(f"{spec}{',' if ':' in spec else ':'}backend={backend}")
    layer = chosen.layer(inputs, width, **chosen.options)
    assert isinstance(layer, RecurrentLayer)
    return layer


def assert_same(fused: list[Tensor], reference: list[Tensor]) -> None:
    for ours, theirs in zip(fused, reference, strict=True):
        tolerance = RELATIVE_TOLERANCE * max(float(theirs.abs().max()), 1e-3)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
