"""Oracles for the TCN: one matrix product per tap and step, and a loop over single numbers. Neither convolves.

An oracle raises an error if the results differ. `torch._weight_norm` is torch's own weight normalisation.
"""

# Shape suffixes: B batch, T time, K taps, D input width, H hidden width

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.validation import CHANNELS, repeat_step, scan_chunks
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.subjects import BATCH, model

STEPS, DEPTH = 40, 3
CHUNKINGS = ((40,), (1, 5, 2, 32), (13, 1, 1, 25))


def tcn_equals_sums_over_taps(spec: str) -> None:
    """Check that outputs and gradients of scans in several chunkings equal those of sums over the taps.

    The outputs of repeated steps must also equal those of the sums.
    """
    _, options = name_and_options(spec)
    layers = list(model(spec, depth=DEPTH).layers)
    x_BTD = reals(BATCH, STEPS, CHANNELS, seed=3).requires_grad_()
    learned = [x_BTD, *(parameter for layer in layers for parameter in layer.parameters())]
    expected = x_BTD
    for i, layer in enumerate(layers):
        expected = _by_taps(layer, expected, options["kernel"], options["dilation"] ** i)
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


def tcn_equals_a_loop(spec: str) -> None:
    """Check the outputs of the last layer against equations (1) to (4), summed number by number."""
    _, options = name_and_options(spec)
    layers = list(model(spec, depth=DEPTH).layers)
    x_TD = reals(1, STEPS, CHANNELS, seed=3)
    expected = x_TD[0].numpy()
    with torch.no_grad():
        for i, layer in enumerate(layers):
            x_TD = layer(x_TD)
            expected = _by_loop(layer, expected, options["kernel"], options["dilation"] ** i)
    close(x_TD[0], torch.from_numpy(expected))


def _by_taps(layer: Any, x_BTD: Tensor, kernel: int, dilation: int) -> Tensor:
    hidden_BTD, T = x_BTD, x_BTD.shape[1]
    for V_HKD, g_H, b_H in ((layer.V1_HKD, layer.g1_H, layer.b1_H), (layer.V2_HKH, layer.g2_H, layer.b2_H)):
        W_HKD = V_HKD if g_H is None else torch._weight_norm(V_HKD, g_H[:, None, None], 0)
        total_BTH = b_H.expand(len(x_BTD), T, -1)
        for k in range(kernel):
            age = (kernel - 1 - k) * dilation
            past_BTD = torch.cat([torch.zeros_like(hidden_BTD[:, :age]), hidden_BTD[:, : max(T - age, 0)]], 1)
            total_BTH = total_BTH + past_BTD @ W_HKD[:, k].T
        hidden_BTD = torch.where(total_BTH > 0, total_BTH, 0.0)  # not clamp, whose slope at 0 is 1
    shortcut_BTH = x_BTD if layer.P_HD is None else x_BTD @ layer.P_HD.T + layer.p_H
    total_BTH = hidden_BTD + shortcut_BTH
    return torch.where(total_BTH > 0, total_BTH, 0.0)


def _by_loop(layer: Any, x_TD: np.ndarray[Any, Any], kernel: int, dilation: int) -> np.ndarray[Any, Any]:
    hidden = x_TD
    for V, g, b in ((layer.V1_HKD, layer.g1_H, layer.b1_H), (layer.V2_HKH, layer.g2_H, layer.b2_H)):
        filters, sums = V.numpy().copy(), np.tile(b.numpy(), (len(x_TD), 1))
        for h, own in enumerate(filters):
            if g is not None:
                own *= g[h].item() / np.sqrt(np.square(own).sum())  # (4)
            for t in range(len(x_TD)):
                for k in range(kernel):
                    if (past := t - (kernel - 1 - k) * dilation) >= 0:
                        sums[t, h] += own[k] @ hidden[past]
        hidden = np.where(sums > 0, sums, 0)  # (1), (2)
    shortcut = x_TD if layer.P_HD is None else x_TD @ layer.P_HD.numpy().T + layer.p_H.numpy()
    total = hidden + shortcut
    return np.where(total > 0, total, 0)  # (3)


def _is_bare_tcn(name: str, options: dict[str, Any]) -> bool:
    return name == "tcn" and options["block"] == "bare" and not options["conv"]


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    tcn_equals_sums_over_taps: _is_bare_tcn,
    tcn_equals_a_loop: _is_bare_tcn,
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""
