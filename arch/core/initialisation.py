"""Initialisations of recurrent layers, selected by the option `init`.

Initial weights strongly affect how far back a network learns to remember.

`default`      every weight and bias uniform in ±1/√H. `torch.nn` draws its weights in the same way, but trains two bias
               vectors per gate instead of one.
`torch`        as `default`, but the bias is that of `torch.nn`: it starts as the sum of two uniform vectors, and Adam
               moves it by two steps. (In `torch.nn`, both vectors have the same gradient, so each moves by one step.)
`orthogonal`   each H×H recurrent block orthogonal (Saxe et al. 2014), input weights uniform (Glorot & Bengio 2010),
               biases zero.
`identity`     recurrent weights equal to the identity matrix, input weights N(0, 0.001²), biases zero. Introduced for
               the ReLU network of Le, Jaitly & Hinton (2015), section 3.
"""

# Shape suffixes: D input width, H hidden width, G gate rows (a multiple of H)

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from arch.core.layer import ParameterGroup

Initialisation = Literal["default", "torch", "orthogonal"]
"""The initialisations of gated layers."""

RectifiedInitialisation = Literal["default", "torch", "orthogonal", "identity"]
"""The initialisations of plain recurrent layers."""

BIAS_VECTORS = 2
"""Number of bias vectors per gate in `torch.nn`."""
IRNN_INPUT_DEVIATION = 1e-3
"""Standard deviation of the input weights of `identity`."""


def initialise(init: RectifiedInitialisation, input_GD: Tensor, recurrent_GH: Tensor, *biases: Tensor | None) -> None:
    """Initialise the weights and biases of a recurrent layer in place.

    Args:
        init: Initialisation, as listed in the module docstring.
        input_GD: Input weights (G, D), in blocks of H rows.
        recurrent_GH: Recurrent weights (G, H), in blocks of H rows.
        biases: Bias vectors, in blocks of H numbers. None stands for a bias that the layer does not have.
    """
    width = recurrent_GH.shape[1]
    present = [bias for bias in biases if bias is not None]
    if init in ("default", "torch"):
        bound = 1 / math.sqrt(width)
        for weight in (input_GD, recurrent_GH, *present):
            nn.init.uniform_(weight, -bound, bound)
        return
    for bias in present:
        nn.init.zeros_(bias)
    for input_HD, recurrent_HH in zip(input_GD.split(width), recurrent_GH.split(width), strict=True):
        if init == "orthogonal":
            nn.init.xavier_uniform_(input_HD)
            nn.init.orthogonal_(recurrent_HH)
        else:
            nn.init.normal_(input_HD, std=IRNN_INPUT_DEVIATION)
            nn.init.eye_(recurrent_HH)


def add_second_bias(bias_G: Tensor, width: int) -> None:
    """Add a second uniform vector to an initial bias in place, for the initialisation `torch`."""
    bound = 1 / math.sqrt(width)
    bias_G.data += torch.empty_like(bias_G).uniform_(-bound, bound)


def bias_groups(init: RectifiedInitialisation, bias: nn.Parameter | None) -> list[ParameterGroup]:
    """Return the groups of a layer's parameters: with `torch`, its bias moves by two steps of Adam."""
    if init != "torch" or bias is None:
        return []
    return [ParameterGroup([bias], learning_rate=BIAS_VECTORS)]
