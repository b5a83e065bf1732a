"""A group of parameters with its own learning rate or without weight decay, as a layer asks for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class ParameterGroup(NamedTuple):
    """Parameters that the optimizer treats differently from the others.

    `learning_rate` multiplies the learning rate of the protocol. `weight_decay` says whether the weight decay of the
    protocol applies.
    """

    parameters: Iterable[nn.Parameter]
    learning_rate: float = 1.0
    weight_decay: bool = True
