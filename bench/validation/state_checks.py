"""The check of a state's format: what can be copied, measured and cut into streams."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from bench.validation.examples import ArchExample, CheckFailed, repeat_step, same_outputs

STATE_RULE = (
    "a state is a tensor, or a tuple, named tuple, list or dict of tensors (batch, ...) and plain numbers, "
    "and holds everything that a stream remembers"
)


def state_format(example: ArchExample) -> None:
    """Check that a state is a tree of tensors with the batch first, and that nothing is kept elsewhere."""
    tested = example.build()
    with torch.no_grad():
        for batch in (example.batch, example.batch + 1):  # a dimension may have the size of the batch by chance
            check_state(tested.module.init_state(batch), batch, "`init_state` returns")
            x = tested.draw(batch, example.steps)
            _, state = tested.module.scan(x, tested.module.init_state(batch))
            check_state(state, batch, "`scan` returns")
            _, state = tested.module.step(x[:, 0], tested.module.init_state(batch))
            check_state(state, batch, "`step` returns")
        x, other = tested.draw(example.batch, example.steps), tested.draw(example.batch, example.steps, seed=1)
        expected, _ = repeat_step(example.build().module, x)
        states = [tested.module.init_state(example.batch) for _ in range(2)]
        outputs = []
        for x_BD, other_BD in zip(x.unbind(1), other.unbind(1), strict=True):
            output, states[0] = tested.module.step(x_BD, states[0])
            outputs.append(output)
            _, states[1] = tested.module.step(other_BD, states[1])
        try:
            same_outputs(torch.stack(outputs, 1), expected, "")
        except CheckFailed:
            raise CheckFailed(f"`step` depends on calls for another stream: {STATE_RULE}") from None


def check_state(state: Any, batch: int, where: str) -> None:
    """Raise `CheckFailed` if a state has the wrong format. `where` is the start of the message."""
    for leaf in pytree.tree_leaves(state):
        if isinstance(leaf, Tensor):
            if leaf.dim() == 0 or leaf.shape[0] != batch:
                shape = tuple(leaf.shape)
                raise CheckFailed(f"{where} a tensor of the shape {shape} for a batch of {batch}: {STATE_RULE}")
        elif not (leaf is None or isinstance(leaf, (bool, int, float))):
            kind = "dataclass" if dataclasses.is_dataclass(leaf) else "value"
            raise CheckFailed(f"{where} the {kind} {type(leaf).__name__}: {STATE_RULE}")
