"""Oracles for the recurrent architectures and the model around them: independent computations of the same result.

An oracle raises an error if the results differ. Outputs and gradients must equal those of `torch.nn` if it has the
layer. `torch.nn` lacks the reset-before variant of the GRU. Therefore an oracle evaluates that variant with scalars.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, L layers, P parts of a state

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from bench.validation import CHANNELS, scan_chunks
from tests.arch import subjects
from tests.arch.subjects import BATCH, WIDTH, model

AGREEMENT = 1e-10
"""Tolerance in float64. Rounding differences are about 1e-15 here."""

SINGLE_PRECISION = 1e-5
"""Tolerance of initial weights, which are float32: rounding is about 1e-7 per product."""

STEPS = 11
CHUNKS = (3, 1, 7)
DEPTH = 2

COUNTERPARTS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
WEIGHTS = {"rnn": ("W_HD", "U_HH", "b_H"), "lstm": ("W_GD", "U_GH", "b_G"), "gru": ("W_GD", "U_GH", "b_G")}
"""Attribute names of the input weights, recurrent weights and bias."""
GATES = {"lstm": ("input", "forget", "candidate", "output"), "gru": ("reset", "update", "candidate")}
"""Gates in the order of the weight blocks, which is also the order of `torch.nn`."""


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=AGREEMENT, atol=AGREEMENT)


def recurrent_layers_equal_torch(spec: str) -> None:
    """Check that outputs, final state and all gradients equal those of `torch.nn` for a random initial state."""
    name, options = name_and_options(spec)
    layers = list(model(spec, depth=DEPTH).layers)
    theirs, shared = _counterpart(name, options, layers)
    x_BTD = reals(BATCH, STEPS, CHANNELS, seed=3).requires_grad_()
    parts_PLBH = reals(2 if name == "lstm" else 1, DEPTH, BATCH, WIDTH, seed=4).requires_grad_()

    outputs, last = x_BTD, []
    for layer, parts_PBH in zip(layers, parts_PLBH.unbind(1), strict=True):
        begin = type(layer.init_state(BATCH))(*parts_PBH)
        outputs, state = scan_chunks(layer, outputs, CHUNKS, begin)
        last.append(torch.stack(tuple(state)))
    expected, expected_last = theirs(x_BTD, tuple(parts_PLBH) if name == "lstm" else parts_PLBH[0])
    expected_last = torch.stack(expected_last) if name == "lstm" else expected_last[None]
    close(outputs, expected)
    close(torch.stack(last, 1), expected_last)

    actual = gradients([outputs, torch.stack(last, 1)], [x_BTD, parts_PLBH, *(ours for ours, _, _ in shared)])
    by_input, by_state, *by_weight = gradients(
        [expected, expected_last], [x_BTD, parts_PLBH, *(other for _, other, _ in shared)]
    )
    by_row = [weight[rows] for weight, (_, _, rows) in zip(by_weight, shared, strict=True)]
    close(actual, [by_input, by_state, *by_row])


def recurrent_layers_start_from_zero(spec: str) -> None:
    """Check that outputs without a given initial state equal those of `torch.nn`. Both start from zeros."""
    name, options = name_and_options(spec)
    layers = list(model(spec, depth=DEPTH).layers)
    theirs, _ = _counterpart(name, options, layers)
    x_BTD = outputs = reals(BATCH, STEPS, CHANNELS, seed=3)
    for layer in layers:
        outputs = layer(outputs)
    close(outputs, theirs(x_BTD)[0])


def reset_before_equals_scalar_equations(spec: str) -> None:
    """Check outputs and all gradients against equations (5) to (8) of Cho et al. 2014, evaluated with scalars."""
    layer = model(spec, depth=1).layers[0]
    x_BTD, h_BH = reals(BATCH, 4, CHANNELS, seed=3), reals(BATCH, WIDTH, seed=4)
    learned = [x_BTD.requires_grad_(), h_BH.requires_grad_(), *layer.parameters()]
    outputs, _ = scan_chunks(layer, x_BTD, (3, 1), type(layer.init_state(BATCH))(h_BH))

    blocks = [_scalars(weight) for weight in (layer.W_GD, layer.U_GH)]
    (W_r, W_z, W_n), (U_r, U_z, U_n) = ([rows[i : i + WIDTH] for i in (0, WIDTH, 2 * WIDTH)] for rows in blocks)
    zero = x_BTD.new_zeros(())
    b = [zero] * 3 * WIDTH if layer.b_G is None else list(layer.b_G.unbind())
    b_r, b_z, b_n = b[:WIDTH], b[WIDTH : 2 * WIDTH], b[2 * WIDTH :]
    units = range(WIDTH)
    rows = []
    for x_TD, h_H in zip(_scalars(x_BTD), _scalars(h_BH), strict=True):
        for x in x_TD:
            r = [_sigmoid(_dot(W_r[j], x) + _dot(U_r[j], h_H) + b_r[j]) for j in units]
            z = [_sigmoid(_dot(W_z[j], x) + _dot(U_z[j], h_H) + b_z[j]) for j in units]
            seen = [r[k] * h_H[k] for k in units]
            n = [(_dot(W_n[j], x) + _dot(U_n[j], seen) + b_n[j]).tanh() for j in units]
            h_H = [n[j] + z[j] * (h_H[j] - n[j]) for j in units]
            rows.append(torch.stack(h_H))
    expected = torch.stack(rows).view_as(outputs)

    close(outputs, expected)
    close(gradients([outputs], learned), gradients([expected], learned))


def gates_equal_their_equations(spec: str) -> None:
    """Check gates against their equations, and output and next state against the gates.

    The candidate of a GRU is checked only through the next state.
    """
    name, options = name_and_options(spec)
    layer = model(spec, depth=1).layers[0]
    x_BD, h_BH, c_BH = reals(BATCH, CHANNELS, seed=3), reals(BATCH, WIDTH, seed=4), reals(BATCH, WIDTH, seed=5)
    state = type(layer.init_state(BATCH))(*((h_BH, c_BH) if name == "lstm" else (h_BH,)))
    gates = layer.gates(x_BD, state)
    output_BH, after = layer.step(x_BD, state)

    bias_G = torch.zeros(len(GATES[name]) * WIDTH, dtype=torch.float64) if layer.b_G is None else layer.b_G
    sums = (x_BD @ layer.W_GD.T + h_BH @ layer.U_GH.T + bias_G).split(WIDTH, 1)
    totals = dict(zip(GATES[name], sums, strict=True))
    assert list(gates) == list(GATES[name])
    if name == "lstm":
        constant = options["forget_bias"] if layer.b_G is None else 0.0
        close(gates["input"], totals["input"].sigmoid())
        close(gates["forget"], (totals["forget"] + constant).sigmoid())
        close(gates["candidate"], totals["candidate"].tanh())
        close(gates["output"], totals["output"].sigmoid())
        c_BH = gates["forget"] * c_BH + gates["input"] * gates["candidate"]
        close(tuple(after), (gates["output"] * c_BH.tanh(), c_BH))
    else:
        close(gates["reset"], totals["reset"].sigmoid())
        close(gates["update"], totals["update"].sigmoid())
        close(tuple(after), (gates["candidate"] + gates["update"] * (h_BH - gates["candidate"]),))
    close(output_BH, after[0])


def initial_weights_match_the_option(spec: str) -> None:
    """Check `default` against `torch.nn` with equal seeds, and `orthogonal` and `identity` by their definitions."""
    name, options = name_and_options(spec)
    inputs, width = 5, 32
    own = {key: value for key, value in options.items() if key not in subjects.arch.RESERVED_OPTIONS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        layer = subjects.arch.get(spec).layer(inputs, width, **own)
        torch.manual_seed(7)
        theirs = COUNTERPARTS[name](inputs, width)
    W_GD, U_GH, b_G = (getattr(layer, weight) for weight in WEIGHTS[name])
    started_b_G = torch.zeros(len(U_GH))
    if own["init"] == "default":
        torch.testing.assert_close([W_GD, U_GH], [theirs.weight_ih_l0, theirs.weight_hh_l0], rtol=0, atol=0)
        started_b_G = theirs.bias_ih_l0.detach().clone()
        for parameter in layer.parameters():
            assert parameter.abs().max() > 0.5 / math.sqrt(width)
    elif own["init"] == "orthogonal":
        for block_HH in U_GH.split(width):
            product_HH = block_HH @ block_HH.T
            torch.testing.assert_close(product_HH, torch.eye(width), rtol=0, atol=SINGLE_PRECISION)
        assert len({block_HH[0, 0].item() for block_HH in U_GH.split(width)}) == len(U_GH) // width
        bound = math.sqrt(6 / (inputs + width))
        assert 0.9 * bound < W_GD.abs().max() <= bound
    else:
        torch.testing.assert_close(U_GH, torch.eye(width), rtol=0, atol=0)
        assert 0.8e-3 < W_GD.std() < 1.2e-3
    if b_G is not None:
        started_b_G[width : 2 * width] += own.get("forget_bias", 0.0)
        torch.testing.assert_close(b_G, started_b_G, rtol=0, atol=SINGLE_PRECISION)


def model_equals_its_parts(spec: str) -> None:
    """Check that a model's scan equals the chain of its parts, and its step equals a scan of one step.

    The parts are encoder, layers and readout. In training mode, dropout follows each layer but the last.
    """
    for vocabulary in (None, subjects.VOCABULARY):
        whole = model(str(subjects.arch.get(spec).with_options({"dropout": 0.5})), depth=3, vocabulary=vocabulary)
        x = reals(BATCH, STEPS, CHANNELS, seed=3) if vocabulary is None else torch.arange(22).view(2, 11) % vocabulary
        for training in (True, False):
            whole.train(training)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(7)
                actual, states = whole.scan(x, whole.init_state(BATCH))
                torch.manual_seed(7)
                hidden = whole.encoder(x)
                expected_states = []
                for i, layer in enumerate(whole.layers):
                    if i > 0 and training:
                        hidden = hidden * (torch.empty_like(hidden).bernoulli_(0.5) / 0.5)
                    hidden, state = layer.scan(hidden, layer.init_state(BATCH))
                    expected_states.append(state)
                close(actual, whole.readout(hidden))
                subjects.assert_same_state(states, expected_states, close)
                torch.manual_seed(7)
                one_step, _ = whole.step(x[:, 0], whole.init_state(BATCH))
                torch.manual_seed(7)
                close(one_step, whole(x[:, :1])[:, 0])


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    recurrent_layers_equal_torch: lambda name, options: has_counterpart(name, options),
    recurrent_layers_start_from_zero: lambda name, options: has_counterpart(name, options),
    reset_before_equals_scalar_equations: lambda name, options: name == "gru" and options["reset"] == "before",
    gates_equal_their_equations: lambda name, options: name in GATES and not is_lstm_variant(name, options),
    initial_weights_match_the_option: lambda name, options: name in COUNTERPARTS and not is_lstm_variant(name, options),
    model_equals_its_parts: lambda name, options: True,
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""


def is_lstm_variant(name: str, options: dict[str, Any]) -> bool:
    """Return whether this is an LSTM without a learned forget gate or with peepholes, which `torch.nn` lacks."""
    return name == "lstm" and (options["forget"] != "learned" or options["peepholes"])


def has_counterpart(name: str, options: dict[str, Any]) -> bool:
    """Return whether `torch.nn` has the layer."""
    return name in COUNTERPARTS and options.get("reset") != "before" and not is_lstm_variant(name, options)


def name_and_options(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the name and all option values of a spec, including defaults."""
    return _name_and_options(subjects.arch, spec)


@lru_cache(maxsize=256)
def _name_and_options(package: ModuleType, spec: str) -> tuple[str, dict[str, Any]]:
    arch = package.get(spec)
    return arch.name, {key: default for key, (_, default) in arch.parameters.items()} | dict(arch.options)


def reals(*shape: int, seed: int) -> Tensor:
    """Return normally distributed numbers of the given shape in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(results: Iterable[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Return the gradients of a non-linear loss of `results` with respect to `inputs`.

    The loss weights each number differently.
    """
    loss = torch.zeros((), dtype=torch.float64)
    for result in results:
        weights = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result)
        loss = loss + (weights * result + result.square()).sum()
    return list(torch.autograd.grad(loss, inputs))


def _counterpart(
    name: str, options: dict[str, Any], layers: list[Any]
) -> tuple[Any, list[tuple[Tensor, Tensor, slice]]]:
    """Return the `torch.nn` module with the layers' weights, and one triple per weight of our layers.

    A triple contains our weight, torch's weight, and the rows of torch's weight that equal our weight.
    """
    constant = 0.0 if options["bias"] else options.get("forget_bias", 0.0)
    extra = {"nonlinearity": options["nonlinearity"]} if name == "rnn" else {}
    theirs = COUNTERPARTS[name](
        CHANNELS, WIDTH, DEPTH, bias=options["bias"] or constant != 0, batch_first=True, dtype=torch.float64, **extra
    )
    shared = []
    for i, layer in enumerate(layers):
        W_GD, U_GH, b_G = (getattr(layer, weight) for weight in WEIGHTS[name])
        shared += [(W_GD, getattr(theirs, f"weight_ih_l{i}"), slice(None))]
        shared += [(U_GH, getattr(theirs, f"weight_hh_l{i}"), slice(None))]
        if b_G is not None:
            shared += [(b_G, getattr(theirs, f"bias_ih_l{i}"), slice(None))]
        if name == "gru" and layer.u_H is not None:
            shared += [(layer.u_H, getattr(theirs, f"bias_hh_l{i}"), slice(2 * WIDTH, None))]
    with torch.no_grad():
        for key, weight in theirs.named_parameters():
            weight.zero_()
            if key.startswith("bias_ih"):
                weight[WIDTH : 2 * WIDTH] = constant
        for ours, other, rows in shared:
            other[rows] = ours
    return theirs, shared


def _scalars(tensor: Tensor) -> Any:
    """Return a tensor as nested lists of scalar tensors."""
    return list(tensor.unbind()) if tensor.dim() == 1 else [_scalars(part) for part in tensor.unbind()]


def _dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    total = one[0] * other[0]
    for left, right in zip(one[1:], other[1:], strict=True):
        total = total + left * right
    return total


def _sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))
