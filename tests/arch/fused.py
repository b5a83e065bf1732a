"""Shared parts of the kernel tests: specs with a kernel, and the comparison of fused and reference results."""

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
"""Tolerance relative to the largest absolute value of the expected tensor, or to 1e-3 if this value is smaller.

The implementations sum in different orders, so results differ by about √(terms) roundings of 6e-8. The longest sums
here have a few thousand terms. A wrong factor or a missing term causes an error of at least 1e-2.
"""


def layer_of(spec: str, inputs: int, width: int, backend: str = "fused") -> RecurrentLayer:
    """Return a recurrent layer.

    Args:
        spec: The architecture, such as `lstm:bias=False`.
        inputs: Input width D.
        width: Output width H.
        backend: `auto`, `reference` or `fused`.
    """
    selected = arch.get(spec).with_options({"backend": backend})
    layer = selected.layer(inputs, width, **selected.options)
    assert isinstance(layer, RecurrentLayer)
    return layer


def assert_same(fused: list[Tensor], reference: list[Tensor]) -> None:
    """Raise `AssertionError` if the tensors of a pair differ by more than `RELATIVE_TOLERANCE`."""
    for actual, expected in zip(fused, reference, strict=True):
        tolerance = RELATIVE_TOLERANCE * max(float(expected.abs().max()), 1e-3)
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)
