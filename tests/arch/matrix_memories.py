"""Oracles for the matrix memories: attention-like forms with a mask of decays, over whole sequences.

Each form computes the weight of every earlier step for every step, without a recurrence. An oracle raises an error if
outputs or gradients differ.
"""

# Shape suffixes: B batch, T time, S time that is read, D input width, K key width, V value width, C channels

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.validation import repeat_step, scan_chunks
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.subjects import BATCH, model

STEPS = 11
CHUNKINGS = ((11,), (3, 1, 7))
BASE = 10_000
NORM_EPSILON = 1e-5


def matrix_memories_equal_masked_attention(spec: str) -> None:
    """Check outputs and gradients of scans in several chunkings, and outputs of steps, against the quadratic form."""
    name, options = name_and_options(spec)
    layer = _layer(model(spec, depth=1).layers[0])
    x_BTD = reals(BATCH, STEPS, layer.inputs, seed=3).requires_grad_()
    learned = [x_BTD, *layer.parameters()]
    expected = FORMS[name](layer, options, x_BTD)
    expected_gradients = gradients([expected], learned)
    for chunks in CHUNKINGS:
        actual, _ = scan_chunks(layer, x_BTD, chunks)
        close(actual, expected)
        close(gradients([actual], learned), expected_gradients)
    with torch.inference_mode():
        close(repeat_step(layer, x_BTD.detach())[0], expected)


def linear_attention(layer: Any, options: dict[str, Any], x_BTD: Tensor) -> Tensor:
    """Return the outputs of `linear_attention`: softmax attention with φ(q)·φ(k) in the place of exp(q·k)."""
    q_BTD, k_BTD, v_BTD = (x_BTD @ layer.W_PD.T + layer.b_P).chunk(3, -1)
    outputs = []
    for q, k, v in zip(*(part.chunk(options["heads"], -1) for part in (q_BTD, k_BTD, v_BTD)), strict=True):
        scores_BTS = (_feature(q) @ _feature(k).mT).tril()
        outputs.append(scores_BTS @ v / (scores_BTS.sum(-1, keepdim=True) + 1e-6))
    return torch.cat(outputs, -1) @ layer.W_HH.T + layer.b_H


def ret_net(layer: Any, options: dict[str, Any], x_BTD: Tensor) -> Tensor:
    """Return the outputs of `ret_net` by the parallel form of Sun et al. 2023, with keys rotated by their position."""
    N, H, T = options["heads"], layer.width, x_BTD.shape[1]
    C = options["value_factor"] * H
    q, k, v, g = (x_BTD @ layer.W_PD.T).split([H, H, C, C], -1)
    age_TS = torch.arange(T)[:, None] - torch.arange(T)
    outputs = []
    for n in range(N):
        one, two, three = (part.chunk(N, -1)[n] for part in (q, k, v))
        decay_TS = ((1 - 2.0 ** (-5 - n)) ** age_TS.double()).tril()
        scores_BTS = _rotated(one) @ _rotated(two).mT / math.sqrt(H // N) * decay_TS
        outputs.append(scores_BTS @ three)
    normal_BCT = functional.group_norm(
        torch.cat(outputs, -1).flatten(0, 1), N, layer.gain_C, layer.offset_C, NORM_EPSILON
    )
    return (normal_BCT.view_as(g) * g * g.sigmoid()) @ layer.W_HC.T


def gla(layer: Any, options: dict[str, Any], x_BTD: Tensor) -> Tensor:
    """Return the outputs of `gla`: each key has a mask of its own, the product of its decays since it was written."""
    N, H = options["heads"], layer.width
    q, k, v, g, low = (x_BTD @ layer.W_PD.T).split([H // 2, H // 2, H, H, options["rank"]], -1)
    decay_BTG = (low @ layer.W_GR.T + layer.b_G).sigmoid() ** (1 / 16)
    outputs = []
    for n in range(N):
        one, two, three, kept = (part.chunk(N, -1)[n] for part in (q, k, v, decay_BTG))
        total_BTK = kept.log().cumsum(1)
        mask_BTSK = (total_BTK[:, :, None] - total_BTK[:, None]).exp()
        scores_BTS = torch.einsum("btk,bsk,btsk->bts", one, two, mask_BTSK).tril() / math.sqrt(one.shape[-1])
        y_BTV = scores_BTS @ three
        outputs.append(y_BTV / (y_BTV.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt() * layer.gain_V)
    return (torch.cat(outputs, -1) * g * g.sigmoid()) @ layer.W_HH.T


def mamba2(layer: Any, options: dict[str, Any], x_BTD: Tensor) -> Tensor:
    """Return the outputs of `mamba2` by its dual form: masked attention with C, B and the inputs as q, k and v."""
    N, K, E = options["heads"], options["states"], options["expand"] * layer.width
    z, c_BTC, d_BTN = (x_BTD @ layer.W_PD.T).split([E, E + 2 * K, N], -1)
    if options["conv"]:
        padded_BCT = functional.pad(c_BTC.mT, (3, 0))
        c_BTC = functional.conv1d(padded_BCT, layer.filter_LC.T.unsqueeze(1), layer.b_C, groups=E + 2 * K).mT
    u, B, C = (c_BTC * c_BTC.sigmoid()).split([E, K, K], -1)
    step_BTN = (1 + (d_BTN + layer.step_N).exp()).log()
    total_BTN = (-step_BTN * layer.rate_N.exp()).cumsum(1)
    outputs = []
    for n, u_BTV in enumerate(u.chunk(N, -1)):
        mask_BTS = (total_BTN[:, :, None, n] - total_BTN[:, None, :, n]).exp()
        scores_BTS = (C @ B.mT * mask_BTS * step_BTN[:, None, :, n]).tril()
        outputs.append(scores_BTS @ u_BTV + layer.skip_N[n] * u_BTV)
    y_BTE = torch.cat(outputs, -1) * z * z.sigmoid()
    return y_BTE / (y_BTE.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt() * layer.gain_E @ layer.W_HE.T


FORMS: dict[str, Callable[[Any, dict[str, Any], Tensor], Tensor]] = {
    form.__name__: form for form in (linear_attention, ret_net, gla, mamba2)
}
"""The quadratic form of each architecture, a function of a layer, its options and inputs (B, T, D)."""

ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    matrix_memories_equal_masked_attention: lambda name, options: name in FORMS,
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""


def _layer(layer: Any) -> Any:
    """Return the layer inside a block, or the layer itself if there is no block."""
    return getattr(layer, "layer", layer)


def _feature(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())


def _rotated(x_BTK: Tensor) -> Tensor:
    """Rotate pair j of step t by the angle t · 10000^(-2j/K)."""
    T, K = x_BTK.shape[1:]
    angle_TJ = torch.outer(torch.arange(T).double(), BASE ** (-2 * torch.arange(K // 2).double() / K))
    even_BTJ, odd_BTJ = x_BTK[..., ::2], x_BTK[..., 1::2]
    cosine_TJ, sine_TJ = angle_TJ.cos(), angle_TJ.sin()
    pairs = (even_BTJ * cosine_TJ - odd_BTJ * sine_TJ, even_BTJ * sine_TJ + odd_BTJ * cosine_TJ)
    return torch.stack(pairs, -1).flatten(-2)
