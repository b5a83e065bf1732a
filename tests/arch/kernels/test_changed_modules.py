"""A kernel runs only if it computes what the modules, hooks and options of a model compute now."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_globals
from torch.nn.utils import parametrizations, parametrize, prune

import arch
from arch import SequenceModel
from arch.rnn import RNN
from tests.arch.kernels.agreement import (
    CHANNELS,
    NAMES,
    OUTPUTS,
    WIDTH,
    Change,
    assert_as_equations,
    assert_same,
    by_equations,
    gradients,
    inputs,
    model_of,
    outcome,
    steps,
)


def _on(path: str, change: Callable[[Any], object]) -> Change:
    return lambda model: change(model.get_submodule(path))


def _set(path: str, **values: object) -> Change:
    def change(model: SequenceModel) -> None:
        for name, value in values.items():
            setattr(model.get_submodule(path), name, value)

    return change


def _parametrized(path: str, name: str) -> Change:
    return _on(path, lambda module: parametrize.register_parametrization(module, name, Doubled()))


def _double(module: nn.Module, given: Any, output: Tensor) -> Tensor:
    return 2 * output


class Doubled(nn.Module):
    """The parametrization W ↦ 2 W."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def _bias_first(linear: nn.Linear) -> None:
    weight = linear._parameters.pop("weight")
    linear._parameters["weight"] = weight


def _noise(model: SequenceModel) -> None:
    model.dropout = nn.Hardtanh(-0.1, 0.1)  # type: ignore[assignment]


CHANGES: dict[str, tuple[str, Change]] = {
    "eps": ("transformer", _set("layers.0.attention_norm", eps=0.1)),
    "eps of the final norm": ("transformer", _set("layers.1.final_norm", eps=0.1)),
    "hook": ("transformer", _on("layers.0.W_o", lambda linear: linear.register_forward_hook(_double))),
    "hook before": (
        "transformer",
        _on("layers.1.W_1", lambda m: m.register_forward_pre_hook(lambda module, given: (given[0] * 2,))),
    ),
    "hook of the norm": ("transformer", _on("layers.0.perceptron_norm", lambda m: m.register_forward_hook(_double))),
    "hook of the readout": ("lstm", _on("readout", lambda m: m.register_forward_hook(_double))),
    "hook of dropout": ("gru", _on("dropout", lambda m: m.register_forward_hook(_double))),
    "hook of the encoder": ("rnn", _on("encoder", lambda m: m.register_forward_hook(_double))),
    "parametrized W_o": (
        "transformer",
        _parametrized("layers.0.W_o", "weight"),
    ),
    "parametrized U": ("lstm", _parametrized("layers.1", "U_GH")),
    "weight norm": ("transformer", _on("layers.1.W_2", lambda m: parametrizations.weight_norm(m))),
    "spectral norm": ("gru", _on("readout", lambda m: parametrizations.spectral_norm(m))),
    "pruned": ("transformer", _on("layers.0.W_1", lambda m: prune.l1_unstructured(m, "weight", 0.5))),
    "pruned layer": ("lstm", _on("layers.0", lambda m: prune.l1_unstructured(m, "W_GD", 0.5))),
    "pruned readout": ("rnn", _on("readout", lambda m: prune.l1_unstructured(m, "weight", 0.5))),
    "no bias": ("transformer", _set("layers.0", W_o=nn.Linear(WIDTH, WIDTH, bias=False))),
    "bias removed": ("transformer", _on("layers.1.W_2", lambda m: m.register_parameter("bias", None))),
    "norm without weights": (
        "transformer",
        _set("layers.0", attention_norm=nn.LayerNorm(WIDTH, elementwise_affine=False)),
    ),
    "norm without bias": (
        "transformer",
        _set("layers.0", perceptron_norm=nn.LayerNorm(WIDTH, bias=False)),
    ),
    "no norm": ("transformer", _set("layers.0", attention_norm=nn.Identity())),
    "parameters in another order": ("transformer", _on("layers.0.W_o", _bias_first)),
    "one more parameter": (
        "transformer",
        _on("layers.0.attention_norm", lambda m: m.register_parameter("aaa", nn.Parameter(torch.ones(3)))),
    ),
    "replaced linear": ("transformer", _set("layers.0", W_1=nn.Linear(WIDTH, 4 * WIDTH))),
    "wider MLP": (
        "transformer",
        _set("layers.0", W_1=nn.Linear(WIDTH, 30), W_2=nn.Linear(30, WIDTH)),
    ),
    "linears swapped": ("transformer", lambda model: _swap(model, "W_o")),
    "own forward": ("transformer", _set("layers.1.W_o", forward=lambda x: 2 * x)),
    "own forward of the readout": ("lstm", _set("readout", forward=lambda x: x[..., :OUTPUTS])),
    "readout without bias": ("gru", _on("readout", lambda m: m.register_parameter("bias", None))),
    "readout of more outputs": ("rnn", lambda model: setattr(model, "readout", nn.Linear(WIDTH, OUTPUTS + 2))),
    "readout replaced": (
        "lstm",
        _set("", readout=nn.Sequential(nn.Linear(WIDTH, OUTPUTS), nn.Tanh())),
    ),
    "nonlinearity": ("rnn", _set("layers.0", nonlinearity="relu")),
    "reset": ("gru", _set("layers.1", reset="before")),
    "window": ("transformer", _set("layers.0", window=2)),
    "positions": ("transformer", _set("layers.1", positions="alibi")),
    "heads": ("transformer", _set("layers.0", heads=3)),
    "added positions": (
        "transformer",
        _set("layers.0", positions="none", adds_positions=True),
    ),
    "LSTM gains a constant": ("lstm", _set("layers.0", offset_G=torch.ones(4 * WIDTH))),
    "LSTM loses its bias": ("lstm", _on("layers.0", lambda m: m.register_parameter("b_G", None))),
    "a bias for LSTM": (
        "lstm:bias=False",
        _set("layers.1", b_G=nn.Parameter(torch.ones(4 * WIDTH))),
    ),
    "a layer replaced": ("rnn", lambda model: model.layers.__setitem__(0, RNN(CHANNELS, WIDTH, nonlinearity="relu"))),
    "layers swapped": ("transformer", lambda model: _reverse(model)),
    "another module between layers": ("lstm", _noise),
    "negated weights": ("gru", _on("layers.0", lambda m: setattr(m.U_GH, "data", torch._neg_view(m.U_GH.data)))),
    "strided weights": ("lstm", _on("layers.0", lambda m: setattr(m.U_GH, "data", m.U_GH.data.T.contiguous().T))),
    "expanded bias": ("rnn", _on("layers.0", lambda m: setattr(m.b_H, "data", torch.ones(1).expand(WIDTH)))),
    "inputs mapped": ("lstm", lambda model: setattr(model, "encoder", nn.Linear(CHANNELS, CHANNELS))),
    "inputs squashed": ("lstm", lambda model: setattr(model, "encoder", nn.Tanh())),
}


def _swap(model: SequenceModel, name: str) -> None:
    first, second = model.layers
    one, other = getattr(first, name), getattr(second, name)
    setattr(first, name, other)
    setattr(second, name, one)


def _reverse(model: SequenceModel) -> None:
    first, second = model.layers
    model.layers[0], model.layers[1] = second, first


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
@pytest.mark.parametrize("what", CHANGES)
def test_changed_modules(what: str, late: bool) -> None:
    name, change = CHANGES[what]
    model, x = model_of(name), inputs()
    before = steps(model, x)
    if not late:
        model = model_of(name)
    torch.manual_seed(3)
    change(model)
    assert_as_equations(model, x)
    unchanged = {"parameters in another order", "one more parameter", "weight norm", "strided weights"}
    after = outcome(lambda: steps(model, x))
    if what not in unchanged:
        assert after.shape != before.shape or (after - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_backward_hooks_run(name: str) -> None:
    model, x, calls = model_of(name), inputs().requires_grad_(), []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_full_backward_hook(lambda module, *gradients: calls.append(module))
    model(x).sum().backward()
    assert len(calls) == sum(isinstance(module, nn.Linear) for module in model.modules())


@pytest.mark.parametrize("register", ["register_module_forward_hook", "register_module_forward_pre_hook"])
def test_global_hooks_run(register: str) -> None:
    model, x, calls = model_of("transformer"), inputs(), []
    before = steps(model, x)
    handle = getattr(module_globals, register)(lambda module, *given: calls.append(type(module)))
    try:
        assert_same(steps(model, x), before)
        expected = len(calls)
        calls.clear()
        with by_equations(model):
            steps(model, x)
        assert len(calls) == expected > 0
        calls.clear()
        model(x)
        assert calls.count(nn.LayerNorm) == 5
    finally:
        handle.remove()


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
def test_a_module_class_of_torch_is_patched(late: bool) -> None:
    model, x = model_of("transformer"), inputs()
    if late:
        steps(model, x)
    original = nn.Linear.forward
    with mock.patch.object(nn.Linear, "forward", lambda self, x: original(self, x).round(decimals=1)):
        assert_as_equations(model, x)


def test_dropout_follows_its_own_mode() -> None:
    model, x = model_of("lstm"), inputs()
    model.dropout.p = 0.5
    steps(model, x)
    model.dropout.train()
    torch.manual_seed(0)
    actual = steps(model, x)
    torch.manual_seed(0)
    with by_equations(model):
        assert_same(actual, steps(model, x))
    model.train()
    model.dropout.eval()
    assert_as_equations(model, x)


def test_an_embedding_that_renormalises() -> None:
    model, x = model_of("gru", tokens=True), inputs(tokens=True)
    before = steps(model, x)
    model.encoder.max_norm = 0.1  # type: ignore[assignment]
    assert (steps(model, x) - before).abs().max() > 1e-3
    assert_as_equations(model, x)


def test_a_parameter_of_one_number_is_replaced_by_an_equal_one() -> None:
    model = arch.build("lstm", channels=CHANNELS, outputs=1, width=WIDTH, seed=0).eval()
    x = inputs()
    before = steps(model, x)
    readout: Any = model.readout
    readout.bias = nn.Parameter(readout.bias.detach().clone())
    steps(model, x)
    with torch.no_grad():
        readout.bias.add_(1)
    assert_same(steps(model, x), before + 1)


class Halved(nn.Linear):
    """A linear map with half of its weight, which keeps the `forward` of its base."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        weight = self._parameters["weight"]
        assert weight is not None
        return weight / 2


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
@pytest.mark.parametrize("path", ["readout", "layers.0.W_o"])
def test_a_module_changes_its_class_and_keeps_its_forward(path: str, late: bool) -> None:
    model, x = model_of("transformer"), inputs()
    before = steps(model, x)
    if not late:
        model = model_of("transformer")
    model.get_submodule(path).__class__ = Halved
    assert (steps(model, x) - before).abs().max() > 1e-3
    assert_as_equations(model, x)


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a step"])
@pytest.mark.parametrize(
    ("name", "path", "parameter"), [("lstm", "layers.0", "U_GH"), ("transformer", "readout", "weight")]
)
def test_an_attribute_hides_a_parameter(name: str, path: str, parameter: str, late: bool) -> None:
    model, x = model_of(name), inputs()
    before = steps(model, x)
    if not late:
        model = model_of(name)
    module = model.get_submodule(path)
    object.__setattr__(module, parameter, 2 * getattr(module, parameter).detach())
    assert (steps(model, x) - before).abs().max() > 1e-3
    assert_as_equations(model, x)


@pytest.mark.parametrize("name", arch.names())
def test_weights_in_any_layout_give_the_same_outputs_and_gradients(name: str) -> None:
    model = model_of(name)
    expected = gradients(model, inputs())
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.mT.contiguous().mT
    assert_same(gradients(model, inputs()), expected)
