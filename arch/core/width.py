"""Find the width at which a model meets a budget: of parameters, of state, or of FLOPs per step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Self

import torch
from torch import Tensor

from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.registry import Arch

MAX_SMALLEST_WIDTH = 256
"""Upper limit of the search for the smallest width that a layer accepts."""
MAX_WIDTH = 1 << 20
"""Upper limit of the search for a width that meets a budget."""
WIDER = 8
"""Multiple of the smallest width at which a model must have more than at the smallest width."""
MAX_EXCESS = 2
"""Factor between a budget and what the model of the nearest width has. Beyond this factor, the budget is refused."""


class NoWidth(ValueError):
    """Error for an architecture that accepts no width."""

    @classmethod
    def after(cls, arch: Arch | str, widest: int, refusals: Sequence[str]) -> Self:
        """Return the error that names the reason.

        Args:
            arch: The architecture.
            widest: The largest width that was tried.
            refusals: Message of each refusal. If all are equal, an option is wrong, whatever the width.
        """
        is_width_at_fault = len(set(refusals)) > 1
        return cls(f"{arch}{f' accepts no width up to {widest}' if is_width_at_fault else ''}: {refusals[-1]}")


BudgetKind = Literal["params", "layer_params", "state", "step_flops"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """An amount that a model should have, and from which its width follows."""

    kind: BudgetKind
    """`params` counts parameters, `layer_params` those of the layers alone, without encoder and readout. `state` counts
    the bytes of one stream's state, and `step_flops` the FLOPs of one step."""
    amount: int
    length: int = 0
    """Number of steps before the state or the step is measured; not used for parameters."""

    @property
    def counts_parameters(self) -> bool:
        """Whether the amount is a number of parameters."""
        return self.kind in ("params", "layer_params")

    def words(self, amount: int) -> str:
        """Return an amount in words, such as `1,024 bytes of state after 64 steps`."""
        if self.counts_parameters:
            return f"{amount:,} parameters{'' if self.kind == 'params' else ' in its layers'}"
        noun = "bytes of state" if self.kind == "state" else "FLOPs per step"
        return f"{amount:,} {noun} after {self.length:,} step{'' if self.length == 1 else 's'}"


def solve_width(
    budget: Budget, build_model: Callable[[int], SequenceModel], inputs: Callable[[int], Tensor], arch: Arch
) -> int:
    """Return the width at which a model comes nearest to a budget.

    The accepted widths of a layer are assumed to be the multiples of its smallest accepted width. What a model has is
    assumed not to fall with the width. A budget of parameters gives at most `Layer.max_budget_width`, even if the model
    then has fewer parameters.

    Args:
        budget: The budget to meet.
        build_model: Returns the model of a width, or raises `ValueError` if the width is impossible.
        inputs: Returns the inputs of one stream for a number of time steps: tokens (1, T) or reals (1, T, D).
        arch: The architecture, for messages.

    Raises `NoWidth` if no width up to `MAX_SMALLEST_WIDTH` is accepted. Raises `ValueError` if the nearest width misses
    the budget by more than the factor `MAX_EXCESS`. Also raises `ValueError` if the amount is the same at every width,
    or if the architecture does not state its FLOPs.
    """

    @cache
    def count(multiple: int) -> int:
        return _count(budget, multiple * smallest, build_model, inputs, arch)

    smallest = _smallest_width(build_model, arch)
    if count(1) > MAX_EXCESS * budget.amount:
        raise ValueError(
            f"{arch} has at least {budget.words(count(1))} (at width {smallest}), over the budget of "
            f"{budget.amount:,}; raise the budget, or reduce the depth"
        )
    if budget.kind != "params" and count(WIDER) == count(1):
        raise ValueError(f"{arch} has {budget.words(count(1))} at every width; choose another kind of budget")
    last = budget.amount // smallest + 1 if budget.counts_parameters else 1  # a unit has at least one parameter
    while count(last) < budget.amount and 2 * last * smallest <= MAX_WIDTH:
        last *= 2
    limit = arch.layer.max_budget_width if budget.counts_parameters else None
    if limit is not None:
        last = min(last, max(1, limit // smallest))
    above = first_reaching(budget.amount, count, last)
    nearby = range(max(1, above - 1), min(above, last) + 1)
    multiple = min(nearby, key=lambda multiple: abs(count(multiple) - budget.amount))
    if limit is None and MAX_EXCESS * count(multiple) < budget.amount:
        raise ValueError(
            f"{arch} has at most {budget.words(count(multiple))} (at width {multiple * smallest:,}), under the budget "
            f"of {budget.amount:,}; lower the budget, or raise the depth"
        )
    return multiple * smallest


def first_reaching(amount: int, count: Callable[[int], int], last: int) -> int:
    """Return the smallest n from 1 to `last` with `count(n) >= amount`, or `last + 1` if there is none.

    A count grows roughly as a power of n. So each n is where the line through the logarithms of the last two counts
    reaches the amount. This takes half the counts of a bisection, and each count builds a model. Every fourth count
    halves the rest, so that no shape of the growth makes the search slow.

    Args:
        amount: The count to reach, at least 1.
        count: A function of n that does not fall.
        last: The largest n to try, at least 1.
    """
    below, reached, guess = 0, last + 1, 1.0
    points: list[tuple[float, float]] = []
    while reached - below > 1:
        n = min(max(math.ceil(guess), below + 1), reached - 1)
        counted = count(n)
        below, reached = (n, reached) if counted < amount else (below, n)
        points.append((math.log(n), math.log(max(counted, 1))))
        if len(points) == 1:
            guess = last
        elif len(points) % 4 == 0 or points[-1][1] == points[-2][1]:
            guess = (below + reached) / 2
        else:
            (x0, y0), (x1, y1) = points[-2:]
            guess = math.exp(min(x1 + (math.log(amount) - y1) * (x1 - x0) / (y1 - y0), math.log(last + 1)))
    return reached


def _smallest_width(build_model: Callable[[int], SequenceModel], arch: Arch) -> int:
    refusals = []
    for width in range(1, MAX_SMALLEST_WIDTH + 1):
        try:
            with meta_device():
                build_model(width)
        except ValueError as error:
            refusals.append(str(error))
        else:
            return width
    raise NoWidth.after(arch, MAX_SMALLEST_WIDTH, refusals)


def _count(
    budget: Budget, width: int, build_model: Callable[[int], SequenceModel], inputs: Callable[[int], Tensor], arch: Arch
) -> int:
    """Return what the model of a width has, in the unit of the budget. The arguments are those of `solve_width`."""
    with meta_device():
        model = build_model(width)
        if budget.counts_parameters:
            return parameter_count(model if budget.kind == "params" else model.layers)
        if budget.kind == "step_flops":
            flops = model.step_flops(budget.length)
            if flops is None:
                raise ValueError(
                    f"{arch} does not state the FLOPs of a step; choose a budget of parameters or of state"
                )
            return flops
        model.use_reference()
        try:
            return model.eval().state_bytes_after(inputs(budget.length))
        except (RuntimeError, TypeError):  # a layer reads values, and a tensor on the meta device has none
            pass
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        return build_model(width).eval().state_bytes_after(inputs(budget.length))
