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
            _, state = outputs_and_state("step", tested.module.step(x[:, 0], tested.module.init_state(batch)))
            check_state(state, batch, "`step` returns")
            _, state = outputs_and_state("scan", tested.module.scan(x, tested.module.init_state(batch)))
            check_state(state, batch, "`scan` returns")
        x, other = tested.draw(example.batch, example.steps), tested.draw(example.batch, example.steps, seed=1)
        expected, _ = repeat_step(example.build().module, x)
        if not expected.isfinite().all():
            return  # the check `shapes` reports it
        states = [tested.module.init_state(example.batch) for _ in range(2)]
        outputs, before = [], _tensors_of(tested.module)
        for x_BD, other_BD in zip(x.unbind(1), other.unbind(1), strict=True):
            output, states[0] = tested.module.step(x_BD, states[0])
            outputs.append(output)
            _, states[1] = tested.module.step(other_BD, states[1])
        try:
            same_outputs(torch.stack(outputs, 1), expected, "")
        except CheckFailed:
            after = _tensors_of(tested.module)
            changed = [name for name, value in after.items() if not _is_same(value, before.get(name))]
            where = f" and changes {', '.join(f'`{name}`' for name in changed)} of the module" if changed else ""
            raise CheckFailed(f"`step` depends on calls for another stream{where}: {STATE_RULE}") from None


def outputs_and_state(method: str, returned: Any) -> tuple[Any, Any]:
    """Return the two values that a method returns. Raise `CheckFailed` if it returns anything else."""
    if isinstance(returned, (tuple, list)) and len(returned) == 2:
        return returned[0], returned[1]
    what = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else f"one {type(returned).__name__}"
    raise CheckFailed(f"`{method}` returns {what}, not two values: the outputs and the state")


def _tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers of a module and its parts, and of all tensors among their attributes."""
    tensors = dict(module.named_buffers())
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor):
                tensors[f"{path}.{name}".lstrip(".")] = value
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _is_same(tensor: Tensor, before: Tensor | None) -> bool:
    return before is not None and torch.equal(tensor, before)


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
