"""Recurrent state: what may be one, copying it, and measuring its bytes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

State = Any
"""A tree of tensors and plain numbers: named tuples, tuples and lists of them."""


def number_bytes(module: nn.Module) -> int:
    """Bytes of one number of a module's parameters."""
    return next(module.parameters()).element_size()


def state_bytes(state: State) -> int:
    """The memory that a state holds, measured from its tensors' storages, in bytes."""
    storages = {
        leaf.untyped_storage().data_ptr(): leaf.untyped_storage().nbytes()
        for leaf in pytree.tree_leaves(state)
        if isinstance(leaf, Tensor)
    }
    return sum(storages.values())


def copy_state(state: State) -> State:
    """A state of its own, so that one stream can be taken up twice from one place."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.clone(), state)
