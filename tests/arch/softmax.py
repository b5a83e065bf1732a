"""Oracles for the Transformer: torch's encoder, and plain softmax attention written from the papers.

`plain_softmax` processes whole sequences with one score matrix per head, without a cache or fused attention. An oracle
raises an error if outputs or gradients differ.
"""

# Shape suffixes: B batch, T time, S time that is read, D model width, K head width

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.validation import repeat_step, scan_chunks
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.subjects import BATCH, WIDTH, model

STEPS = 13
CHUNKINGS = ((13,), (1, 5, 7), (6, 1, 1, 1, 4))
DEPTH = 2
BASE = 10_000
NORM_EPSILON = 1e-5


def transformer_equals_plain_softmax(spec: str) -> None:
    """Check that outputs and gradients of scans in several chunkings equal those of `plain_softmax`.

    The outputs of repeated steps must also equal those of `plain_softmax`.
    """
    x_BTD = reals(BATCH, STEPS, WIDTH, seed=3).requires_grad_()
    layers = model(spec, depth=DEPTH).layers
    learned = [x_BTD, *layers.parameters()]
    expected = plain_softmax(spec, layers, x_BTD)
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


def transformer_equals_torch_encoder(spec: str) -> None:
    """Check that outputs and gradients equal those of an `nn.TransformerEncoder` with the same weights.

    The encoder has pre-norm layers with GELU, a causal mask and a final layer normalisation. It has no position
    encoding.
    """
    _, options = name_and_options(spec)
    x_BTD = reals(BATCH, STEPS, WIDTH, seed=3).requires_grad_()
    layers = model(spec, depth=DEPTH).layers
    theirs = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(
            WIDTH,
            options["heads"],
            dim_feedforward=options["expansion"] * WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
            dtype=torch.float64,
        ),
        DEPTH,
        norm=nn.LayerNorm(WIDTH, dtype=torch.float64),
        enable_nested_tensor=False,
    )
    shared: list[tuple[Tensor, Tensor]] = []
    for ours, other in zip(layers, theirs.layers, strict=True):
        assert isinstance(other, nn.TransformerEncoderLayer)
        modules: list[tuple[Any, nn.Module]] = [(ours.attention_norm, other.norm1), (ours.perceptron_norm, other.norm2)]
        modules += [(ours.W_o, other.self_attn.out_proj), (ours.W_1, other.linear1), (ours.W_2, other.linear2)]
        shared += [(getattr(one, kind), getattr(two, kind)) for one, two in modules for kind in ("weight", "bias")]
        shared += [(ours.W_qkv.weight, other.self_attn.in_proj_weight)]
        shared += [(ours.W_qkv.bias, other.self_attn.in_proj_bias)]
    assert theirs.norm is not None
    shared += zip(layers[-1].final_norm.parameters(), theirs.norm.parameters(), strict=True)
    assert len(shared) == len(list(layers.parameters())) == len(list(theirs.parameters()))
    with torch.no_grad():
        for one, two in shared:
            two.copy_(one)

    mask_TS = nn.Transformer.generate_square_subsequent_mask(STEPS, dtype=torch.float64)
    expected = theirs(x_BTD, mask=mask_TS)
    actual = x_BTD
    for layer in layers:
        actual = layer(actual)
    close(actual, expected)
    close(
        gradients([actual], [x_BTD, *(one for one, _ in shared)]),
        gradients([expected], [x_BTD, *(two for _, two in shared)]),
    )


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    transformer_equals_plain_softmax: lambda name, options: name == "transformer",
    transformer_equals_torch_encoder: lambda name, options: (
        name == "transformer" and options["positions"] == "none" and options["window"] is None
    ),
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""


def plain_softmax(spec: str, layers: Any, x_BTD: Tensor) -> Tensor:
    """Return the outputs (B, T, D) of a stack of pre-norm blocks (Vaswani et al. 2017; Xiong et al. 2020)."""
    _, options = name_and_options(spec)
    heads, positions, steps = options["heads"], options["positions"], x_BTD.shape[1]
    ages_TS = torch.tensor([[t - s for s in range(steps)] for t in range(steps)], dtype=torch.float64)
    masked_TS = (ages_TS < 0) | (ages_TS >= (options["window"] or math.inf))
    if positions == "sinusoidal":
        x_BTD = x_BTD + _sinusoids(steps, WIDTH)
    if positions == "learned":
        x_BTD = x_BTD + layers[0].position_SD[:steps]
    for layer in layers:
        W_q, W_k, W_v = layer.W_qkv.weight.split(WIDTH)
        b_q, b_k, b_v = layer.W_qkv.bias.split(WIDTH)
        normed_BTD = _layer_norm(x_BTD, layer.attention_norm)
        attended = []
        for head in range(heads):
            rows = slice(head * WIDTH // heads, (head + 1) * WIDTH // heads)
            q_BTK = normed_BTD @ W_q[rows].T + b_q[rows]
            k_BTK = normed_BTD @ W_k[rows].T + b_k[rows]
            v_BTK = normed_BTD @ W_v[rows].T + b_v[rows]
            if positions == "rotary":
                q_BTK, k_BTK = _rotated(q_BTK), _rotated(k_BTK)
            scores_BTS = q_BTK @ k_BTK.mT / math.sqrt(WIDTH // heads)
            if positions == "alibi":
                scores_BTS = scores_BTS - ages_TS / 2 ** (8 * (head + 1) / heads)
            exponential_BTS = scores_BTS.exp().masked_fill(masked_TS, 0.0)
            attended.append(exponential_BTS / exponential_BTS.sum(2, keepdim=True) @ v_BTK)
        y_BTD = x_BTD + torch.cat(attended, 2) @ layer.W_o.weight.T + layer.W_o.bias
        z_BTD = _layer_norm(y_BTD, layer.perceptron_norm) @ layer.W_1.weight.T + layer.W_1.bias
        activated_BTD = z_BTD * (1 + torch.erf(z_BTD / math.sqrt(2))) / 2
        x_BTD = y_BTD + activated_BTD @ layer.W_2.weight.T + layer.W_2.bias
    return _layer_norm(x_BTD, layers[-1].final_norm)


def _layer_norm(x_BTD: Tensor, gains: Any) -> Tensor:
    """Apply layer normalisation (Ba et al. 2016) with the weight and bias of `gains`."""
    centred_BTD = x_BTD - x_BTD.mean(-1, keepdim=True)
    variance_BT1 = centred_BTD.square().mean(-1, keepdim=True)
    scaled: Tensor = centred_BTD / (variance_BT1 + NORM_EPSILON).sqrt() * gains.weight + gains.bias
    return scaled


def _rotated(x_BTK: Tensor) -> Tensor:
    """Rotate pair j of step t by the angle t · 10000^(-2j/K) (Su et al. 2021, equation 34)."""
    _, steps, width = x_BTK.shape
    columns = []
    for j in range(width // 2):
        angles = [t * BASE ** (-2 * j / width) for t in range(steps)]
        cosine_T = torch.tensor([math.cos(angle) for angle in angles], dtype=torch.float64)
        sine_T = torch.tensor([math.sin(angle) for angle in angles], dtype=torch.float64)
        even_BT, odd_BT = x_BTK[:, :, 2 * j], x_BTK[:, :, 2 * j + 1]
        columns += [even_BT * cosine_T - odd_BT * sine_T, even_BT * sine_T + odd_BT * cosine_T]
    return torch.stack(columns, 2)


def _sinusoids(steps: int, width: int) -> Tensor:
    """Return position encodings (T, D), all sines before all cosines (Vaswani et al. 2017, section 3.5)."""
    angles = [[t / BASE ** (2 * j / width) for j in range(width // 2)] for t in range(steps)]
    rows = [[*map(math.sin, row), *map(math.cos, row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)
