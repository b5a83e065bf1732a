"""Recording of a model step by step: its gate activations and its states."""

# Shape suffixes: B batch, T time, H units or width, N heads, S steps in reach of attention, F features of a state

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch
from results import OUTPUT

ATTENTION = "attention"
"""Name of the gate that holds attention weights, (B, N, S), over S steps with the newest last."""
SHAPE_SUFFIX = re.compile(r"_[A-Z]+$")
"""The end of the name of a state's field, such as `_BH` of `c_BH`."""
MAX_FEATURES = 512
"""Largest number of features of a state. A larger state is projected to this number, see `projection`."""
PROJECTION_SEED = 5


def watch_gates(model: arch.SequenceModel, inputs: Tensor) -> dict[str, Tensor]:
    """Return the activations of every gate at all steps, by `layer.name`, such as `0.forget`.

    `inputs` has shape (B, T) or (B, T, D). Gates have shape (B, T, H): those with one value per head (B, N) have H = N,
    and those of several dimensions are flattened. Attention has shape (B, N, T, T), with zeros at steps that are not
    attended to. The model is left in evaluation mode.
    """
    model.eval()
    steps: dict[str, list[Tensor]] = {}
    state, T = model.init_state(len(inputs)), inputs.shape[1]
    with torch.inference_mode():
        for x in inputs.unbind(1):
            for name, gate in model.gates(x, state).items():
                steps.setdefault(name, []).append(gate)
            _, state = model.step(x, state)
        return {  # copies, because a gate may be a view of a parameter
            name: torch.stack([_attention_row(gate, t, T) for t, gate in enumerate(gates)], 2)
            if name.endswith(f".{ATTENTION}")
            else torch.stack(gates, 1).flatten(2)
            for name, gates in steps.items()
        }


def watch_states(model: arch.SequenceModel, inputs: Tensor) -> Iterator[Tensor]:
    """Yield the states of all layers after each step as features, (B, F) with F at most `MAX_FEATURES`.

    Every tensor of a state counts, whatever its shape: vectors, matrices, ring buffers, and the inputs of a
    convolution. A state that grows, such as a cache of keys and values, is not a fixed set of features. If the state of
    a layer grows, the features are the layer's outputs at that step, because it passes only these to the next layer.

    `inputs` has shape (B, T) or (B, T, D). The model is left in evaluation mode.
    """
    model.eval()
    are_fixed = fixed_states(model, inputs)
    state = model.init_state(len(inputs))
    project: Callable[[Tensor], Tensor] | None = None
    for x in inputs.unbind(1):
        with torch.inference_mode():
            outputs, state = _step(model, x, state)
            parts = [
                part
                for output, layer_state, is_fixed in zip(outputs, state, are_fixed, strict=True)
                for part in (_parts(layer_state, len(inputs)) if is_fixed else [output])
            ]
            features_BF = torch.cat([_as_real(part).flatten(1) for part in parts], 1)
            project = project or projection(features_BF.shape[1], features_BF.device)
            yield project(features_BF)


def watch_values(model: arch.SequenceModel, inputs: Tensor) -> dict[str, Tensor]:
    """Return the output of every layer, and the vectors of its state, after each step.

    The keys are `LAYER.output` and `LAYER.NAME`, such as `0.c`. A name is that of the state's field without its shape
    suffix. The values have the shape (B, T, H). Left out are complex numbers, matrices, states that grow, and vectors
    that equal the layer's output.

    `inputs` has shape (B, T) or (B, T, D). The model is left in evaluation mode.
    """
    model.eval()
    steps: dict[str, list[Tensor]] = {}
    state = model.init_state(len(inputs))
    with torch.inference_mode():
        for x in inputs.unbind(1):
            outputs, state = _step(model, x, state)
            for layer, (output, layer_state) in enumerate(zip(outputs, state, strict=True)):
                for name, part in {OUTPUT: output, **_vectors(layer_state, len(inputs))}.items():
                    steps.setdefault(f"{layer}.{name}", []).append(part.clone())  # a step may change it in place
        values = {
            name: torch.stack(parts, 1)
            for name, parts in steps.items()
            if len(parts) == inputs.shape[1] and len({part.shape for part in parts}) == 1
        }
    outputs_by_layer = {name.partition(".")[0]: value for name, value in values.items() if name.endswith(f".{OUTPUT}")}
    return {
        name: value
        for name, value in values.items()
        if name.endswith(f".{OUTPUT}") or not torch.equal(value, outputs_by_layer[name.partition(".")[0]])
    }


def fixed_states(model: arch.SequenceModel, inputs: Tensor) -> list[bool]:
    """Return for each layer whether its state has the same size after all T steps of `inputs` as after the first."""
    with torch.inference_mode():
        first, last = (model.scan(inputs[:1, :T], model.init_state(1))[1] for T in (1, inputs.shape[1]))
    return [arch.state_bytes(early) == arch.state_bytes(late) for early, late in zip(first, last, strict=True)]


def projection(features: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return a fixed linear map from states (B, F) with so many features to at most `MAX_FEATURES` numbers each.

    If there are more features, each is given a random sign and added to one of `MAX_FEATURES` sums of about equally
    many terms (a count sketch, Charikar, Chen & Farach-Colton 2002). The cost is linear in the number of features. A
    large feature disturbs only its own sum. If states vary in fewer than `MAX_FEATURES` directions, the sums almost
    surely keep all that a linear map can decode.
    """
    if features <= MAX_FEATURES:
        return lambda state_BF: state_BF
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    order_F = torch.randperm(features, generator=generator).to(device)
    sign_F = (torch.randint(2, (features,), generator=generator) * 2 - 1).to(device)

    def project(state_BF: Tensor) -> Tensor:
        signed_BF = torch.nn.functional.pad(state_BF[:, order_F] * sign_F, (0, -features % MAX_FEATURES))
        return signed_BF.view(len(state_BF), -1, MAX_FEATURES).sum(1)

    return project


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


def _parts(state: arch.State, batch: int) -> list[Tensor]:
    """Return the tensors (B, ...) of a layer's state. A tensor without B values, such as a counter, is left out."""
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor) and leaf.shape[:1] == (batch,)]


def _vectors(state: arch.State, batch: int) -> dict[str, Tensor]:
    """Return the real vectors (B, H) of a layer's state by name: `c` of the field `c_BH`, or `state`."""
    named: dict[str, Tensor] = {}
    for path, leaf in pytree.tree_leaves_with_path(state):
        if isinstance(leaf, Tensor) and leaf.dim() == 2 and len(leaf) == batch and not leaf.is_complex():
            key = path[-1] if path else None
            if isinstance(key, pytree.GetAttrKey):
                name = SHAPE_SUFFIX.sub("", key.name)
            elif isinstance(key, pytree.MappingKey):
                name = str(key.key)
            else:
                name = f"state{len(named) + 1}" if path else "state"
            named.setdefault(name, leaf)
    return named


def _as_real(part: Tensor) -> Tensor:
    return torch.view_as_real(part.resolve_conj()) if part.is_complex() else part


def _attention_row(weight_BNS: Tensor, step: int, T: int) -> Tensor:
    """Return the attention weights at `step`, counted from 0, as a row over all T steps, (B, N, T)."""
    row_BNT = weight_BNS.new_zeros(*weight_BNS.shape[:2], T)
    row_BNT[:, :, step + 1 - weight_BNS.shape[2] : step + 1] = weight_BNS
    return row_BNT
