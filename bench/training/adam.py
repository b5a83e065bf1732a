"""Adam, by torch's own arithmetic, but without torch's compiler.

`torch.optim.Adam` imports `torch._dynamo` when it is created. This takes each process that trains seconds, and
nothing here is compiled by it. So the state is kept here, and each step is one call per group of the function that
`torch.optim.Adam` and `torch.optim.AdamW` call: the results are equal, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

BETAS = (0.9, 0.999)
EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class _State:
    """The running means of one parameter's gradients and of their squares, and the number of steps."""

    mean: Tensor
    mean_square: Tensor
    steps: Tensor


@dataclass(slots=True, eq=False)
class ParameterGroup:
    """Parameters with one learning rate and one weight decay."""

    parameters: list[nn.Parameter]
    learning_rate: float
    """Learning rate before the factor of the schedule."""
    weight_decay: float
    """Share of a parameter that a step subtracts, relative to the learning rate (AdamW)."""
    _states: dict[nn.Parameter, _State] = field(default_factory=dict, init=False)


class Adam:
    """Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) for groups with a weight decay.

    The decay rates of the means are 0.9 and 0.999, and ε is 1e-8. Real parameters are updated by torch's fused kernel,
    which complex parameters do not have.

    Args:
        groups: The parameters. A parameter belongs to one group.
    """

    def __init__(self, groups: Sequence[ParameterGroup]) -> None:
        self.groups = tuple(groups)
        every = [parameter for group in self.groups for parameter in group.parameters]
        self._has_complex = any(parameter.is_complex() for parameter in every)

    def zero_grad(self) -> None:
        """Remove all gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Update all parameters that have a gradient, with `factor` times the learning rates of their groups."""
        for group in self.groups:
            trained = [parameter for parameter in group.parameters if parameter.grad is not None]
            if not trained:
                continue
            states = [self._state(group, parameter) for parameter in trained]
            adam(
                trained,  # type: ignore[arg-type]  # a list of parameters is one of tensors
                [parameter.grad for parameter in trained if parameter.grad is not None],
                [state.mean for state in states],
                [state.mean_square for state in states],
                [],
                [state.steps for state in states],
                fused=not self._has_complex,
                has_complex=self._has_complex,
                decoupled_weight_decay=True,
                amsgrad=False,
                beta1=BETAS[0],
                beta2=BETAS[1],
                lr=group.learning_rate * factor,
                weight_decay=group.weight_decay,
                eps=EPSILON,
                maximize=False,
            )

    def _state(self, group: ParameterGroup, parameter: nn.Parameter) -> _State:
        if parameter not in group._states:
            mean = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            device = "cpu" if self._has_complex else parameter.device
            group._states[parameter] = _State(mean, mean.clone(), torch.zeros((), dtype=torch.float32, device=device))
        return group._states[parameter]
