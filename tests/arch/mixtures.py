"""Oracle for hybrids: the chain of a `torch.nn.GRU` and plain softmax attention, each with the weights of a part."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from bench.validation import CHANNELS, repeat_step, scan_chunks
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.softmax import plain_softmax
from tests.arch.subjects import BATCH, WIDTH, model

STEPS, DEPTH = 13, 6
CHUNKINGS = ((13,), (1, 5, 7))


def hybrid_equals_the_chain_of_its_parts(spec: str) -> None:
    """Check that outputs and gradients of a model of six layers equal those of the layers of torch, one after another.

    A pattern of this oracle has parts of `gru` and `transformer`. Its repetition over the depth is written out here.
    """
    _, options = name_and_options(spec)
    layers = model(spec, depth=DEPTH).layers
    parts = _parts(spec.partition("pattern=")[2] or options["pattern"])
    x_BTD = reals(BATCH, STEPS, CHANNELS if parts[0] == "gru" else WIDTH, seed=3).requires_grad_()
    learned = [x_BTD, *layers.parameters()]
    numbered = list(zip(layers, itertools.cycle(parts), strict=False))
    for layer, part in numbered:
        assert type(getattr(layer, "layer", layer)).__name__.lower() == part.partition(":")[0]
    expected = x_BTD
    for part, group in itertools.groupby(numbered, lambda pair: pair[1]):
        own = [layer for layer, _ in group]
        if part == "gru":
            expected = _by_torch(own, expected)
            continue
        norms = [type(block.final_norm) for block in own if hasattr(block, "final_norm")]
        assert norms == [nn.Identity] * (len(own) - 1) + [nn.LayerNorm]
        expected = plain_softmax(part, list(map(_named, own)), expected)
    expected_gradients = gradients([expected], learned)
    for chunks in CHUNKINGS:
        actual = x_BTD
        for layer in layers:
            actual, _ = scan_chunks(layer, actual, chunks)
        close(actual, expected)
        close(gradients([actual], learned), expected_gradients)
    with torch.inference_mode():
        actual = x_BTD.detach()
        for layer in layers:
            actual, _ = repeat_step(layer, actual)
        close(actual, expected)


def _parts(pattern: str) -> list[str]:
    """Return the spec of each layer of a pattern."""
    parts: list[str] = []
    for text in pattern.split("+"):
        spec, _, count = text.partition("*")
        name, _, options = spec.partition(":")
        parts += [f"{name}:{options.replace(':', ',')}" if options else name] * int(count or 1)
    return parts


def _by_torch(layers: list[Any], x_BTD: Tensor) -> Tensor:
    for layer in layers:
        theirs = nn.GRU(x_BTD.shape[2], WIDTH, batch_first=True, dtype=torch.float64)
        b_hh = torch.cat([layer.u_H.new_zeros(2 * WIDTH), layer.u_H])
        weights = {"weight_ih_l0": layer.W_GD, "weight_hh_l0": layer.U_GH, "bias_ih_l0": layer.b_G, "bias_hh_l0": b_hh}
        x_BTD, _ = torch.func.functional_call(theirs, weights, (x_BTD,))
    return x_BTD


def _named(block: Any) -> Any:
    """Return the weights of a block around attention, by the names of a whole block of `transformer`."""
    return SimpleNamespace(
        attention_norm=block.norm,
        W_qkv=block.layer.W_qkv,
        W_o=block.layer.W_o,
        perceptron_norm=block.mlp_norm,
        W_1=block.W_1,
        W_2=block.W_2,
        final_norm=block.final_norm,
    )


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    hybrid_equals_the_chain_of_its_parts: lambda name, options: (
        name == "hybrid" and {part.partition(":")[0] for part in _parts(options["pattern"])} == {"gru", "transformer"}
    ),
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""
