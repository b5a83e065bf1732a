"""What a layer may ask of the training: groups of parameters with their own learning rate, and an auxiliary loss."""

from __future__ import annotations

import math

from torch import Tensor, nn

from arch.core.layer import Layer, ParameterGroup


def parameter_groups(model: nn.Module) -> list[ParameterGroup]:
    """Return all parameters of a model in groups: those that layers ask for, then one group of all others.

    Raises `ValueError` if a layer names a parameter twice or one that is not its own, or if a factor is not a positive
    number.
    """
    groups: list[ParameterGroup] = []
    grouped: set[nn.Parameter] = set()
    for layer in _layers(model):
        own = set(layer.parameters())
        for group in layer.parameter_groups():
            parameters = tuple(group.parameters)
            name = type(layer).__name__
            if not 0 < group.learning_rate < math.inf:
                raise ValueError(
                    f"{name}.parameter_groups: learning_rate is {group.learning_rate}; give a positive factor"
                )
            if grouped.intersection(parameters) or len(set(parameters)) < len(parameters):
                raise ValueError(f"{name}.parameter_groups: a parameter is in two groups; put it into one")
            if not own.issuperset(parameters):
                raise ValueError(f"{name}.parameter_groups: a parameter is not the layer's; leave it out")
            grouped.update(parameters)
            groups.append(ParameterGroup(parameters, group.learning_rate, group.weight_decay))
    others = tuple(parameter for parameter in model.parameters() if parameter not in grouped)
    return [*groups, ParameterGroup(others)] if others else groups


def auxiliary_loss(model: nn.Module) -> Tensor | None:
    """Return the sum of the auxiliary losses of all layers for the last forward pass, or None if no layer has one.

    Raises `ValueError` if a loss is no scalar.
    """
    total: Tensor | None = None
    for layer in _layers(model):
        loss = layer.auxiliary_loss()
        if loss is None:
            continue
        if loss.dim():
            shape = tuple(loss.shape)
            raise ValueError(f"{type(layer).__name__}.auxiliary_loss has the shape {shape}; return a scalar")
        total = loss if total is None else total + loss
    return total


def _layers(model: nn.Module) -> list[Layer]:
    """Return the layers of a model in order. A layer that is used twice is listed once."""
    return [module for module in model.modules() if isinstance(module, Layer)]
