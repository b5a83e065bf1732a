"""Training by gradients: the optimizer of a protocol, the loss that it minimises, and the clipping of gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

import arch
import tasks
from bench.training.adam import Adam, ParameterGroup
from bench.training.evaluation import Evaluation, evaluate
from bench.training.schedule import learning_rate_factor
from results import Protocol


def optimizer_of(model: arch.SequenceModel, protocol: Protocol, learning_rate: float | None = None) -> Adam:
    """Return Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) if the protocol sets a weight decay.

    `learning_rate` is needed only if the protocol gives no rate. Each group of parameters that a layer asks for has its
    own learning rate, relative to this one. Raises `ValueError` if the groups are invalid.
    """
    rate = protocol.learning_rate if learning_rate is None else learning_rate
    assert rate is not None, "the learning rate has not been chosen"
    groups: list[ParameterGroup] = []
    for group in arch.parameter_groups(model):
        decay = protocol.weight_decay if group.weight_decay else 0.0
        decayed, others = _by_decay(group.parameters, model, protocol) if decay else ([], list(group.parameters))
        for parameters, own_decay in ((decayed, decay), (others, 0.0)):
            if parameters:
                groups.append(ParameterGroup(parameters, rate * group.learning_rate, own_decay))
    return Adam(groups)


def training_loss(model: arch.SequenceModel, task: tasks.Task, batch: tasks.Batch) -> Tensor:
    """Return the loss of a batch in training: that of the task, plus the auxiliary losses of the layers."""
    loss = task.loss(model(batch.inputs), batch)
    auxiliary = arch.auxiliary_loss(model)
    return loss if auxiliary is None else loss + auxiliary


def clip_gradients(model: nn.Module, protocol: Protocol) -> Tensor:
    """Scale the gradients down to the norm `clip` of the protocol if they exceed it, and return their norm before."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), protocol.clip or math.inf)


class GradientDescent:
    """A learner that takes one step of the optimizer per batch, at the learning rate of the schedule.

    A loss or gradient that is not finite leaves the weights as they are, and `diverged` is then true.

    Args:
        model: The model to train in place.
        task: The task, which defines the loss.
        protocol: The optimizer, its schedule, and the clipping.
        learning_rate: The highest rate of the schedule; None for that of the protocol.
    """

    def __init__(
        self, model: arch.SequenceModel, task: tasks.Task, protocol: Protocol, learning_rate: float | None = None
    ) -> None:
        self._model, self._task, self._protocol, self._learning_rate = model, task, protocol, learning_rate
        self._optimizer, self._steps = optimizer_of(model, protocol, learning_rate), 0
        self.diverged = False

    def step(self, batch: tasks.Batch) -> float:
        """Train on a batch, and return the loss before."""
        self._optimizer.zero_grad()
        loss = training_loss(self._model, self._task, batch)
        loss.backward()
        norm = clip_gradients(self._model, self._protocol)
        value = loss.item()
        self.diverged = not (math.isfinite(value) and math.isfinite(norm.item()))
        if not self.diverged:
            self._optimizer.step(learning_rate_factor(self._protocol, self._steps, self._learning_rate))
            self._steps += 1
        return value

    def validate(self, validation: tasks.Batch) -> Evaluation:
        """Return the evaluation of the present weights."""
        return evaluate(self._model, self._task, validation)


def _by_decay(
    parameters: Iterable[nn.Parameter], model: arch.SequenceModel, protocol: Protocol
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters on which the weight decay acts, and the others.

    With `weight_decay_on = "matrices"`, embeddings of tokens and parameters of fewer than two dimensions are others.
    """
    parameters = list(parameters)
    if protocol.weight_decay_on == "all":
        return parameters, []
    embeddings = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed = [each for each in parameters if each.dim() > 1 and each not in embeddings]
    return decayed, [each for each in parameters if each.dim() < 2 or each in embeddings]
