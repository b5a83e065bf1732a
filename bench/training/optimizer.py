"""The optimizer of a training protocol, and the loss that it minimises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import arch
import tasks
from results import Protocol


def optimizer_of(
    model: arch.SequenceModel, protocol: Protocol, learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """Return Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) if the protocol sets a weight decay.

    `learning_rate` is needed only if the protocol gives no rate. Each group of parameters that a layer asks for has its
    own learning rate, relative to this one. Raises `ValueError` if the groups are invalid.
    """
    rate = protocol.learning_rate if learning_rate is None else learning_rate
    assert rate is not None, "the learning rate has not been chosen"
    groups: list[dict[str, Any]] = [
        {
            "params": list(group.parameters),
            "lr": rate * group.learning_rate,
            "weight_decay": protocol.weight_decay if group.weight_decay else 0.0,
        }
        for group in arch.parameter_groups(model)
    ]
    is_real = all(parameter.is_floating_point() for parameter in model.parameters())
    optimizer = torch.optim.AdamW if protocol.weight_decay else torch.optim.Adam
    return optimizer(groups, lr=rate, fused=is_real)  # complex parameters have no fused optimizer


def training_loss(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Return the loss of a batch in training: that of the task, plus the auxiliary losses of the layers."""
    loss = task.loss(model(batch.inputs), batch)
    auxiliary = arch.auxiliary_loss(model)
    return loss if auxiliary is None else loss + auxiliary
