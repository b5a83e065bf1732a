"""The state of a layer or model: type, size in bytes, and copies."""

from __future__ import annotations

from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

State = Any
"""A pytree of tensors and plain numbers, built from named tuples, tuples and lists."""


def element_bytes(module: nn.Module) -> int:
    """Return the size in bytes of one element of `first_weight`."""
    return first_weight(module).element_size()


def first_weight(module: nn.Module) -> Tensor:
    """Return the first parameter of a module, or the first buffer of a module without parameters."""
    return next(chain(module.parameters(), module.buffers()))


def state_bytes(state: State) -> int:
    """Return the memory of a state in bytes. Each storage counts once and as a whole, also on the meta device."""
    storages = {}
    for leaf in pytree.tree_leaves(state):
        if isinstance(leaf, Tensor):
            storage = leaf.untyped_storage()
            identity = ("meta", storage._cdata) if leaf.is_meta else ("memory", storage.data_ptr())
            storages[identity] = storage.nbytes()
    return sum(storages.values())


def state_layout(state: State) -> object:
    """Return everything about a state except the values in its tensors: two states of one layout take equal memory."""
    leaves, structure = pytree.tree_flatten(state)
    layouts = [
        (leaf.shape, leaf.stride(), leaf.dtype, leaf.untyped_storage().nbytes()) if isinstance(leaf, Tensor) else leaf
        for leaf in leaves
    ]
    return structure, layouts


def copy_state(state: State) -> State:
    """Return a copy that shares no memory with `state`, so that a stream can be continued twice from one point."""
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.clone(), state)


def require_streams(state: State, batch: int) -> None:
    """Raise `ValueError` if a tensor of a state belongs to another number of streams than the inputs."""
    for leaf in pytree.tree_leaves(state):
        if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) != batch:
            raise ValueError(f"the state has {len(leaf)} streams, but the inputs have {batch}; use init_state({batch})")
