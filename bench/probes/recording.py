"""A model watched step by step: what its gates read, and what its state holds."""

# Shape suffixes: B batch, T time, H units, N heads, S steps read, F features of a state

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch

ATTENTION = "attention"
"""The gate that says how much each step read weighs: (B, N, S), the newest of them last."""
MAX_FEATURES = 1024
"""A state with more numbers is decoded through a random projection to this many."""
PROJECTION_SEED = 5


def watch_gates(model: arch.SequenceModel, inputs: Tensor) -> dict[str, Tensor]:
    """Every gate over all steps by `layer.name`: (B, T, H), and attention (B, N, T, T) with zeros where none is."""
    model.eval()
    steps: dict[str, list[Tensor]] = {}
    state, T = model.init_state(len(inputs)), inputs.shape[1]
    with torch.inference_mode():
        for x in inputs.unbind(1):
            for name, gate in model.gates(x, state).items():
                steps.setdefault(name, []).append(gate)
            _, state = model.step(x, state)
    return {
        name: torch.stack([_placed(gate, t, T) for t, gate in enumerate(gates)], 2)
        if name.endswith(f".{ATTENTION}")
        else torch.stack(gates, 1)
        for name, gates in steps.items()
    }


def watch_states(model: arch.SequenceModel, inputs: Tensor) -> Iterator[Tensor]:
    """The state of all layers after each step, (B, F).

    A state that grows with the steps read, such as a cache of keys and values, is no fixed set of features;
    in its place stand the outputs of the layers at that step, which is all that the next layer learns of it.
    """
    model.eval()
    keeps_size = has_fixed_state(model, inputs)
    state = model.init_state(len(inputs))
    for x in inputs.unbind(1):
        with torch.inference_mode():
            outputs, state = _step(model, x, state)
            leaves = [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]
            yield _narrowed(torch.cat([part.flatten(1) for part in (leaves if keeps_size else outputs)], 1))


def has_fixed_state(model: arch.SequenceModel, inputs: Tensor) -> bool:
    """Whether the state holds as many numbers after the last step as after the first."""
    with torch.inference_mode():
        sizes = {arch.state_bytes(model.scan(inputs[:1, :T], model.init_state(1))[1]) for T in (1, inputs.shape[1])}
    return len(sizes) == 1


def _step(model: arch.SequenceModel, x: Tensor, state: list[arch.State]) -> tuple[list[Tensor], list[arch.State]]:
    """One step: the outputs of all layers, and their next states."""
    hidden_BH, outputs, states = model.encoder(x), [], []
    for layer, before in zip(model.layers, state, strict=True):
        assert isinstance(layer, arch.Layer)
        hidden_BH, after = layer.step(hidden_BH, before)
        outputs.append(hidden_BH)
        states.append(after)
    return outputs, states


def _placed(weight_BNS: Tensor, step: int, T: int) -> Tensor:
    """The weights of the steps up to `step` in a row of T steps, (B, N, T)."""
    row_BNT = weight_BNS.new_zeros(*weight_BNS.shape[:2], T)
    row_BNT[:, :, step + 1 - weight_BNS.shape[2] : step + 1] = weight_BNS
    return row_BNT


def _narrowed(state_BF: Tensor) -> Tensor:
    width = state_BF.shape[1]
    if width <= MAX_FEATURES:
        return state_BF
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    signs = torch.randint(2, (width, MAX_FEATURES), generator=generator).to(state_BF) * 2 - 1
    projected_BF: Tensor = state_BF @ signs / width**0.5
    return projected_BF
