"""Recording of a model step by step: its gate activations and its states."""

# Shape suffixes: B batch, T time, H units or width, N heads, S steps in reach of attention, F features of a state

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch

ATTENTION = "attention"
"""Name of the gate that holds attention weights, (B, N, S), over S steps with the newest last."""
MAX_FEATURES = 1024
"""Largest number of features of a state. A larger state is projected at random to this number."""
PROJECTION_SEED = 5


def watch_gates(model: arch.SequenceModel, inputs: Tensor) -> dict[str, Tensor]:
    """Return the activations of every gate at all steps, by `layer.name`, such as `0.forget`.

    `inputs` has shape (B, T) or (B, T, D). Gates have shape (B, T, H). Attention has shape (B, N, T, T), with zeros at
    steps that are not attended to. The model is left in evaluation mode.
    """
    model.eval()
    steps: dict[str, list[Tensor]] = {}
    state, T = model.init_state(len(inputs)), inputs.shape[1]
    with torch.inference_mode():
        for x in inputs.unbind(1):
            for name, gate in model.gates(x, state).items():
                steps.setdefault(name, []).append(gate)
            _, state = model.step(x, state)
    return {
        name: torch.stack([_attention_row(gate, t, T) for t, gate in enumerate(gates)], 2)
        if name.endswith(f".{ATTENTION}")
        else torch.stack(gates, 1)
        for name, gates in steps.items()
    }


def watch_states(model: arch.SequenceModel, inputs: Tensor) -> Iterator[Tensor]:
    """Yield the states of all layers after each step as features, (B, F).

    `inputs` has shape (B, T) or (B, T, D). A state that grows, such as a cache of keys and values, is not a fixed set
    of features. If the state grows, the features are the outputs of all layers at that step. A layer passes only these
    outputs to the next layer. The model is left in evaluation mode.
    """
    model.eval()
    is_fixed = has_fixed_state(model, inputs)
    state = model.init_state(len(inputs))
    for x in inputs.unbind(1):
        with torch.inference_mode():
            outputs, state = _step(model, x, state)
            leaves = [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]
            yield _project(torch.cat([_as_real(part).flatten(1) for part in (leaves if is_fixed else outputs)], 1))


def has_fixed_state(model: arch.SequenceModel, inputs: Tensor) -> bool:
    """Return whether the state has the same size after all T steps of `inputs` as after the first step."""
    with torch.inference_mode():
        sizes = {arch.state_bytes(model.scan(inputs[:1, :T], model.init_state(1))[1]) for T in (1, inputs.shape[1])}
    return len(sizes) == 1


def _step(model: arch.SequenceModel, x: Tensor, state: list[arch.State]) -> tuple[list[Tensor], list[arch.State]]:
    """Run one step on tokens (B,) or reals (B, D), and return the outputs and the next states of all layers.

    `state` may be modified in place; do not reuse it.
    """
    hidden_BH, outputs, states = model.encoder(x), [], []
    for layer, layer_state in zip(model.layers, state, strict=True):
        assert isinstance(layer, arch.Layer)
        hidden_BH, next_state = layer.step(hidden_BH, layer_state)
        outputs.append(hidden_BH)
        states.append(next_state)
    return outputs, states


def _as_real(part: Tensor) -> Tensor:
    return torch.view_as_real(part.resolve_conj()) if part.is_complex() else part


def _attention_row(weight_BNS: Tensor, step: int, T: int) -> Tensor:
    """Return the attention weights at `step`, counted from 0, as a row over all T steps, (B, N, T)."""
    row_BNT = weight_BNS.new_zeros(*weight_BNS.shape[:2], T)
    row_BNT[:, :, step + 1 - weight_BNS.shape[2] : step + 1] = weight_BNS
    return row_BNT


def _project(state_BF: Tensor) -> Tensor:
    """Project a state with more features than `MAX_FEATURES` to that number; return any other state unchanged.

    The projection matrix consists of random signs.
    """
    width = state_BF.shape[1]
    if width <= MAX_FEATURES:
        return state_BF
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    signs = torch.randint(2, (width, MAX_FEATURES), generator=generator).to(state_BF) * 2 - 1
    projected_BF: Tensor = state_BF @ signs / width**0.5
    return projected_BF
