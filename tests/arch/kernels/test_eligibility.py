"""A kernel runs only if sizes fit, and only for a class whose equations it computes."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

import arch
from arch import SequenceModel
from arch.lstm import LSTM
from arch.transformer import Transformer
from tests.arch.kernels.agreement import (
    NAMES,
    OUTPUTS,
    WIDTH,
    Change,
    assert_as_equations,
    assert_same,
    by_equations,
    inputs,
    model_of,
    outcome,
    steps,
)
from tests.fuzz.edits import CoupledLSTM, SineRNN, SlowGRU


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru:reset=before"])
@pytest.mark.parametrize("channels", [1, 2, 4, 4_000_000])
def test_a_wrong_number_of_channels_raises_the_error_of_the_equations(name: str, channels: int) -> None:
    model, x = model_of(name), torch.zeros(1, 2, channels)
    assert isinstance(outcome(lambda: model(x)), type)
    assert_as_equations(model, x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rows", [1, 3, 5])
def test_a_state_of_another_batch(name: str, rows: int) -> None:
    model, x = model_of(name), inputs(4)
    with torch.no_grad():
        state = model.scan(inputs(rows), model.init_state(rows))[1]
    assert_as_equations(model, x, state)
    with by_equations(model):
        expected = outcome(lambda: model.scan(x, arch.copy_state(state))[0])
    assert_same(outcome(lambda: model.scan(x, arch.copy_state(state))[0]), expected)


def _resize(name: str, shape: tuple[int, ...]) -> Change:
    return lambda model: setattr(model.layers[1], name, nn.Parameter(torch.ones(shape)))


WRONG_SIZES: dict[str, tuple[str, Change]] = {
    "input weights": ("lstm", _resize("W_GD", (4 * WIDTH, WIDTH + 1))),
    "input rows": ("lstm", _resize("W_GD", (2 * WIDTH, WIDTH))),
    "recurrent weights": ("gru", _resize("U_GH", (3 * WIDTH, WIDTH - 2))),
    "bias of one number": ("rnn", _resize("b_H", (1,))),
    "short bias": ("gru", _resize("b_G", (2 * WIDTH,))),
    "bias by row": ("rnn", _resize("b_H", (2, WIDTH))),
    "readout": ("lstm", lambda model: setattr(model.readout, "weight", nn.Parameter(torch.ones(OUTPUTS, WIDTH + 3)))),
    "width": ("gru", lambda model: setattr(model.layers[1], "width", WIDTH - 1)),
    "heads": ("transformer", lambda model: setattr(model.layers[1], "heads", 5)),
    "norm": ("transformer", lambda model: setattr(model.layers[0], "attention_norm", nn.LayerNorm((1, WIDTH)))),
    "same memory, other shape": (
        "lstm",
        lambda model: setattr(model.layers[1].U_GH, "data", model.layers[1].U_GH.data.view(WIDTH, 4 * WIDTH)),
    ),
}


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
@pytest.mark.parametrize("what", WRONG_SIZES)
def test_weights_of_another_size(what: str, late: bool) -> None:
    name, change = WRONG_SIZES[what]
    model, x = model_of(name), inputs()
    if late:
        steps(model, x)
    change(model)
    assert_as_equations(model, x)


class RMSTransformer(Transformer):
    """A transformer block with RMS norms."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.attention_norm = nn.RMSNorm(self.width)  # type: ignore[assignment]
        self.perceptron_norm = nn.RMSNorm(self.width)  # type: ignore[assignment]


@pytest.mark.parametrize("cls", [CoupledLSTM, RMSTransformer, SlowGRU, SineRNN])
def test_a_subclass_computes_its_own_equations(cls: type[Any]) -> None:
    base, layers = model_of(cls.__bases__[0].__name__.lower()), []
    for layer in base.layers:
        own = cls(layer.inputs or WIDTH, WIDTH)
        own.load_state_dict(layer.state_dict(), strict=False)
        layers.append(own)
    model, x = SequenceModel(base.encoder, layers, base.readout), inputs()
    assert (model(x) - base(x)).abs().max() > 1e-3
    assert_as_equations(model, x)


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
def test_methods_replaced_on_an_instance_and_on_a_class(late: bool) -> None:
    model, x = model_of("lstm"), inputs()
    before = steps(model, x)
    if not late:
        model = model_of("lstm")

    def project(x: Tensor) -> Tensor:
        return LSTM.project(layer, x) * 2

    layer: Any = model.layers[0]
    layer.project = project
    assert (steps(model, x) - before).abs().max() > 1e-3
    assert_as_equations(model, x)
    del layer.project
    assert_same(steps(model, x), before)
    with mock.patch.object(LSTM, "activations", _coupled):
        assert (steps(model, x) - before).abs().max() > 1e-3
        assert_as_equations(model, x)
    assert_same(steps(model, x), before)
    assert not LSTM.replaced_methods


def _coupled(self: LSTM, projected_BG: Tensor, state: Any) -> tuple[Tensor, ...]:
    i, _, g, o = torch.addmm(projected_BG, state.h_BH, self.U_GH.T).chunk(4, 1)
    return i.sigmoid(), 1 - i.sigmoid(), g.tanh(), o.sigmoid()


@pytest.mark.parametrize("change", ["batch", "heads", "dtype", "values"])
def test_an_empty_cache_of_another_size(change: str) -> None:
    model, x = model_of("transformer"), inputs(4, 3)
    caches: dict[str, Any] = {
        "batch": model.init_state(1),
        "heads": [part._replace(keys_BNSK=part.keys_BNSK[:, :1]) for part in model.init_state(4)],
        "dtype": [type(part)(part[0].double(), part[1].double(), 0, 0) for part in model.init_state(4)],
        "values": [part._replace(values_BNSK=part.values_BNSK[:1]) for part in model.init_state(4)],
    }
    with torch.no_grad():
        assert model._stepper.step(model, x[:, 0], caches[change]) is None
    assert_as_equations(model, x, caches[change])
