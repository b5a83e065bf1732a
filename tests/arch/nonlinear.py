"""Oracles for the variants of the LSTM, for sLSTM and for echo state networks, written from the papers.

An oracle raises an error if outputs, final state or gradients differ. It computes each quantity in another form than
the layer: unit by unit, without the stabiliser, or with full matrices.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.validation import CHANNELS, scan_chunks
from tests.arch.oracles import SINGLE_PRECISION, close, gradients, is_lstm_variant, name_and_options, reals
from tests.arch.subjects import BATCH, WIDTH, model

STEPS = 7
CHUNKS = (3, 1, 3)


def lstm_variants_equal_greff(spec: str) -> None:
    """Check a variant of the LSTM against section III of Greff et al. 2017, unit by unit."""
    layer, (_, options) = _layer(spec), name_and_options(spec)
    x_BTD, h_BH, c_BH = (part.requires_grad_() for part in _parts(layer, 2))
    outputs_BTH, after = scan_chunks(layer, x_BTD, CHUNKS, type(layer.init_state(BATCH))(h_BH, c_BH))

    names = ["i", "f", "g", "o"] if options["forget"] == "learned" else ["i", "g", "o"]
    seeing = [name for name in names if name != "g"]
    zero = x_BTD.new_zeros(())

    def total(name: str, unit: int, x_D: Tensor, h_H: Tensor, cell: Tensor) -> Tensor:
        row = names.index(name) * WIDTH + unit
        sum_ = (layer.W_GD[row] * x_D).sum() + (layer.U_GH[row] * h_H).sum()
        bias = zero if layer.b_G is None else layer.b_G[row]
        if layer.b_G is None and name == "f":
            bias = zero + options["forget_bias"]
        peephole = layer.p_PH[seeing.index(name), unit] if options["peepholes"] and name in seeing else zero
        return sum_ + bias + peephole * cell

    expected = []
    for x_TD, h_H, c_H in zip(x_BTD, h_BH, c_BH, strict=True):
        for x_D in x_TD:
            cells, outputs = [], []
            for unit, cell in enumerate(c_H):
                i = torch.sigmoid(total("i", unit, x_D, h_H, cell))
                kept = {"none": zero + 1, "coupled": 1 - i}.get(options["forget"])
                f = torch.sigmoid(total("f", unit, x_D, h_H, cell)) if kept is None else kept
                cells.append(f * cell + i * torch.tanh(total("g", unit, x_D, h_H, cell)))
                outputs.append(torch.sigmoid(total("o", unit, x_D, h_H, cells[-1])) * torch.tanh(cells[-1]))
            h_H, c_H = torch.stack(outputs), torch.stack(cells)
            expected.append(h_H)
        close(after.c_BH[len(expected) // STEPS - 1], c_H)
    expected_BTH = torch.stack(expected).view_as(outputs_BTH)
    learned = [x_BTD, h_BH, c_BH, *layer.parameters()]
    close(outputs_BTH, expected_BTH)
    close(gradients([outputs_BTH], learned), gradients([expected_BTH], learned))
    gates = layer.gates(x_BTD[:, 0].detach(), type(after)(h_BH.detach(), c_BH.detach()))
    first = gates["forget"] * c_BH + gates["input"] * gates["candidate"]
    close(gates["output"] * first.tanh(), expected_BTH[:, 0])


def slstm_equals_its_equations_without_stabiliser(spec: str) -> None:
    """Check equations (8) to (14) of Beck et al. 2024, in which exponentials grow without bound, with a full matrix U.

    The stabilised state is c e^-m, n e^-m and m.
    """
    layer, (_, options) = _layer(spec), name_and_options(spec)
    K = WIDTH // options["heads"]
    x_BTD, h_BH, c_BH, n_BH, m_BH = _parts(layer, 4)
    n_BH = 1 + n_BH.exp()
    state = [part.requires_grad_() for part in (h_BH, c_BH, n_BH, m_BH)]
    x_BTD.requires_grad_()
    begin = type(layer.init_state(BATCH))(*state)
    outputs_BTH, after = scan_chunks(layer, x_BTD, CHUNKS, begin)

    recurrent = [torch.block_diag(*block.split(K)) for block in layer.U_GK.split(WIDTH)]
    weights = list(zip(layer.W_GD.split(WIDTH), recurrent, layer.b_G.split(WIDTH), strict=True))

    def unrolled(h_BH: Tensor, c_BH: Tensor, n_BH: Tensor) -> list[Tensor]:
        outputs = []
        for x_BD in x_BTD.unbind(1):
            i, f, z, o = (x_BD @ W.T + h_BH @ U.T + b for W, U, b in weights)
            f = 1 / (1 + torch.exp(-f))
            c_BH, n_BH = f * c_BH + torch.exp(i) * torch.tanh(z), f * n_BH + torch.exp(i)
            h_BH = c_BH / n_BH / (1 + torch.exp(-o))
            outputs.append(h_BH)
        return [torch.stack(outputs, 1), c_BH, n_BH]

    expected_BTH, *cells = unrolled(h_BH, c_BH * m_BH.exp(), n_BH * m_BH.exp())
    learned = [x_BTD, *state, *layer.parameters()]
    actual = [outputs_BTH, after.c_BH * after.m_BH.exp(), after.n_BH * after.m_BH.exp()]
    close(actual, [expected_BTH, *cells])
    close(gradients(actual, learned), gradients([expected_BTH, *cells], learned))
    from_zero = unrolled(*(torch.zeros_like(h_BH) for _ in range(3)))[0]
    close(layer(x_BTD), from_zero)
    gates = layer.gates(x_BTD[:, 0], begin)
    mean_BH = gates["forget"] * c_BH / n_BH + gates["input"] * gates["candidate"]
    close(gates["output"] * mean_BH, expected_BTH[:, 0])
    close(gates["forget"] + gates["input"], torch.ones_like(h_BH))


def esn_equals_full_matrices(spec: str) -> None:
    """Check equation (7) of Jaeger et al. 2007 with full matrices, the connections and the spectral radius."""
    layer, (_, options) = _layer(spec), name_and_options(spec)
    x_BTD, h_BH = (part.requires_grad_() for part in _parts(layer, 1))
    outputs_BTH, after = scan_chunks(layer, x_BTD, CHUNKS, type(layer.init_state(BATCH))(h_BH))

    W_HD, U_HH = x_BTD.new_zeros(WIDTH, CHANNELS), x_BTD.new_zeros(WIDTH, WIDTH)
    for full, weights, sources in ((W_HD, layer.W_HJ, layer.W_sources_HJ), (U_HH, layer.U_HK, layer.U_sources_HK)):
        for row, (weight_K, source_K) in enumerate(zip(weights.tolist(), sources.tolist(), strict=True)):
            assert len(set(source_K)) == len(source_K), "a unit reads a source twice"
            full[row, source_K] = torch.tensor(weight_K, dtype=torch.float64)
        assert ((full != 0).sum(1) == min(options["connections"], full.shape[1])).all()
    radius = torch.linalg.eigvals(U_HH).abs().max().item()
    assert radius == pytest.approx(options["spectral_radius"], rel=SINGLE_PRECISION)
    limits = (W_HD.abs().max(), layer.b_H.abs().max())
    assert all(0.5 * options["input_scaling"] < limit <= options["input_scaling"] for limit in limits)

    state, expected = h_BH, []
    leak = torch.tensor(options["leak"]).double()
    for x_BD in x_BTD.unbind(1):
        state = (1 - leak) * state + leak * torch.tanh(x_BD @ W_HD.T + state @ U_HH.T + layer.b_H)
        expected.append(state)
    expected_BTH = torch.stack(expected, 1)
    close([outputs_BTH, after.h_BH], [expected_BTH, state])
    close(gradients([outputs_BTH], [x_BTD, h_BH]), gradients([expected_BTH], [x_BTD, h_BH]))


def _layer(spec: str) -> Any:
    """Return a layer with random weights, without the block around it."""
    layer = model(spec, depth=1).layers[0]
    return getattr(layer, "layer", layer)


def _parts(layer: Any, count: int) -> list[Tensor]:
    """Return random inputs (B, T, D) and as many parts of a state (B, H)."""
    return [reals(BATCH, STEPS, layer.inputs, seed=3), *(reals(BATCH, WIDTH, seed=4 + part) for part in range(count))]


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    lstm_variants_equal_greff: is_lstm_variant,
    slstm_equals_its_equations_without_stabiliser: lambda name, options: name == "slstm",
    esn_equals_full_matrices: lambda name, options: name == "esn",
}
"""The oracles, each with a predicate as in `tests.arch.oracles.ORACLES`."""
