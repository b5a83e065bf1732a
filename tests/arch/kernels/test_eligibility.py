"""A kernel runs only if it computes what the equations compute, and only on memory that it may touch.

Each test changes a model in a legal but unusual way. `auto` must then give what `reference` gives: the same numbers,
or the same error.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as module_globals
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint

import arch
from arch import SequenceModel
from arch.core.positions import BLOCK
from arch.gru import GRU
from arch.lstm import LSTM
from arch.rnn import RNN
from arch.transformer import Transformer

TOLERANCE = 1e-5
"""Tolerance relative to the largest number. The two implementations sum in different orders."""
CHANNELS, WIDTH, OUTPUTS, STEPS, VOCABULARY = 3, 12, 5, 7, 6
NAMES = ["rnn", "lstm", "gru", "gru:reset=before", "transformer"]

Change = Callable[[SequenceModel], object]


def model_of(spec: str, *, tokens: bool = False, seed: int = 0) -> SequenceModel:
    reads: dict[str, int] = {"vocabulary": VOCABULARY} if tokens else {"channels": CHANNELS}
    model = arch.build(spec, outputs=OUTPUTS, width=WIDTH, depth=2, seed=seed, **reads)
    with torch.no_grad():
        for parameter in model.parameters():  # so that no bias is 0 and no gain 1
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def inputs(batch: int = 2, steps: int = STEPS, tokens: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    if tokens:
        return torch.randint(VOCABULARY, (batch, steps), generator=generator)
    return torch.randn(batch, steps, CHANNELS, generator=generator, dtype=torch.float32)


@contextlib.contextmanager
def by_equations(model: SequenceModel) -> Iterator[None]:
    before = [layer.backend for layer in model.layers]
    for layer in model.layers:
        layer.backend = "reference"  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, backend in zip(model.layers, before, strict=True):
            layer.backend = backend


def steps(model: SequenceModel, x: Tensor, state: Any = None) -> Tensor:
    """Return the outputs of repeated `step` without gradients."""
    outputs = []
    with torch.no_grad():
        state = model.init_state(len(x)) if state is None else arch.copy_state(state)
        for one in x.unbind(1):
            output, state = model.step(one, state)
            outputs.append(output)
    return torch.stack(outputs, 1)


def gradients(model: SequenceModel, x: Tensor) -> list[Tensor]:
    """Return the outputs of `scan` and the gradients of all parameters that they reach."""
    output = model.scan(x, model.init_state(len(x)))[0]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(output.square().sum(), learned, allow_unused=True, retain_graph=True)
    return [output.detach(), *(gradient for gradient in found if gradient is not None)]


def outcome(run: Callable[[], Any]) -> Any:
    """Return what a call returns, or the class of its error."""
    try:
        return run()
    except Exception as error:
        return type(error)


def assert_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, type):
        assert actual is expected
    elif isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert isinstance(actual, Tensor), actual
        actual, expected = actual.detach(), expected.detach()
        tolerance = TOLERANCE * max(1.0, float(expected.abs().max())) if expected.numel() else 0.0
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_as_equations(model: SequenceModel, x: Tensor, state: Any = None) -> None:
    """Compare steps, outputs and gradients of `auto` with those of `reference`."""
    for run in (lambda: steps(model, x, state), lambda: gradients(model, x)):
        with by_equations(model):
            expected = outcome(run)
        assert_same(outcome(run), expected)


# sizes


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


# equations


class CoupledLSTM(LSTM):
    """An LSTM whose forget gate is 1 - i."""

    def activations(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, ...]:
        i_BH, _, g_BH, o_BH = super().activations(projected_BG, state)
        return i_BH, 1 - i_BH, g_BH, o_BH


class RMSTransformer(Transformer):
    """A transformer block with RMS norms."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.attention_norm = nn.RMSNorm(self.width)  # type: ignore[assignment]
        self.perceptron_norm = nn.RMSNorm(self.width)  # type: ignore[assignment]


class SlowGRU(GRU):
    """A GRU with half as large an update."""

    def update(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, Any]:
        h_BH, after = super().update(projected_BG, state)
        return h_BH, type(after)((h_BH + state.h_BH) / 2)


class SineRNN(RNN):
    """An RNN whose input is squashed by a sine."""

    def project(self, x: Tensor) -> Tensor:
        return super().project(x).sin()


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
    with mock.patch.object(LSTM, "activations", CoupledLSTM.activations_of):
        assert (steps(model, x) - before).abs().max() > 1e-3
        assert_as_equations(model, x)
    assert_same(steps(model, x), before)
    assert not LSTM.replaced_methods


def _coupled(self: LSTM, projected_BG: Tensor, state: Any) -> tuple[Tensor, ...]:
    i, f, g, o = torch.addmm(projected_BG, state.h_BH, self.U_GH.T).chunk(4, 1)
    return i.sigmoid(), 1 - i.sigmoid(), g.tanh(), o.sigmoid()


CoupledLSTM.activations_of = _coupled  # type: ignore[attr-defined]


# submodules, hooks, options


def _on(path: str, change: Callable[[Any], object]) -> Change:
    return lambda model: change(model.get_submodule(path))


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
    "eps": ("transformer", _on("layers.0.attention_norm", lambda norm: setattr(norm, "eps", 0.1))),
    "eps of the final norm": ("transformer", _on("layers.1.final_norm", lambda norm: setattr(norm, "eps", 0.1))),
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
        _on("layers.0.W_o", lambda m: parametrize.register_parametrization(m, "weight", Doubled())),
    ),
    "parametrized U": ("lstm", _on("layers.1", lambda m: parametrize.register_parametrization(m, "U_GH", Doubled()))),
    "weight norm": ("transformer", _on("layers.1.W_2", lambda m: parametrizations.weight_norm(m))),
    "spectral norm": ("gru", _on("readout", lambda m: parametrizations.spectral_norm(m))),
    "pruned": ("transformer", _on("layers.0.W_1", lambda m: prune.l1_unstructured(m, "weight", 0.5))),
    "pruned layer": ("lstm", _on("layers.0", lambda m: prune.l1_unstructured(m, "W_GD", 0.5))),
    "pruned readout": ("rnn", _on("readout", lambda m: prune.l1_unstructured(m, "weight", 0.5))),
    "no bias": ("transformer", _on("layers.0", lambda m: setattr(m, "W_o", nn.Linear(WIDTH, WIDTH, bias=False)))),
    "bias removed": ("transformer", _on("layers.1.W_2", lambda m: m.register_parameter("bias", None))),
    "norm without weights": (
        "transformer",
        _on("layers.0", lambda m: setattr(m, "attention_norm", nn.LayerNorm(WIDTH, elementwise_affine=False))),
    ),
    "norm without bias": (
        "transformer",
        _on("layers.0", lambda m: setattr(m, "perceptron_norm", nn.LayerNorm(WIDTH, bias=False))),
    ),
    "no norm": ("transformer", _on("layers.0", lambda m: setattr(m, "attention_norm", nn.Identity()))),
    "parameters in another order": ("transformer", _on("layers.0.W_o", _bias_first)),
    "one more parameter": (
        "transformer",
        _on("layers.0.attention_norm", lambda m: m.register_parameter("aaa", nn.Parameter(torch.ones(3)))),
    ),
    "replaced linear": ("transformer", _on("layers.0", lambda m: setattr(m, "W_1", nn.Linear(WIDTH, 4 * WIDTH)))),
    "wider MLP": (
        "transformer",
        _on("layers.0", lambda m: (setattr(m, "W_1", nn.Linear(WIDTH, 30)), setattr(m, "W_2", nn.Linear(30, WIDTH)))),
    ),
    "linears swapped": ("transformer", lambda model: _swap(model, "W_o")),
    "own forward": ("transformer", _on("layers.1.W_o", lambda m: setattr(m, "forward", lambda x: 2 * x))),
    "own forward of the readout": ("lstm", _on("readout", lambda m: setattr(m, "forward", lambda x: x[..., :OUTPUTS]))),
    "readout without bias": ("gru", _on("readout", lambda m: m.register_parameter("bias", None))),
    "readout of more outputs": ("rnn", lambda model: setattr(model, "readout", nn.Linear(WIDTH, OUTPUTS + 2))),
    "readout replaced": (
        "lstm",
        lambda model: setattr(model, "readout", nn.Sequential(nn.Linear(WIDTH, OUTPUTS), nn.Tanh())),
    ),
    "nonlinearity": ("rnn", _on("layers.0", lambda m: setattr(m, "nonlinearity", "relu"))),
    "reset": ("gru", _on("layers.1", lambda m: setattr(m, "reset", "before"))),
    "window": ("transformer", _on("layers.0", lambda m: setattr(m, "window", 2))),
    "positions": ("transformer", _on("layers.1", lambda m: setattr(m, "positions", "alibi"))),
    "heads": ("transformer", _on("layers.0", lambda m: setattr(m, "heads", 3))),
    "added positions": (
        "transformer",
        _on("layers.0", lambda m: (setattr(m, "positions", "none"), setattr(m, "adds_positions", True))),
    ),
    "LSTM gains a constant": ("lstm", _on("layers.0", lambda m: setattr(m, "offset_G", torch.ones(4 * WIDTH)))),
    "LSTM loses its bias": ("lstm", _on("layers.0", lambda m: m.register_parameter("b_G", None))),
    "a bias for LSTM": (
        "lstm:bias=False",
        _on("layers.1", lambda m: setattr(m, "b_G", nn.Parameter(torch.ones(4 * WIDTH)))),
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


# memory


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_state_is_its_memory_not_its_tuple(name: str) -> None:
    model, x = model_of(name), inputs(steps=4)
    with torch.no_grad():
        state = model.init_state(2)
        for one in x.unbind(1):
            _, state = model.step(one, state)
        for part in state:
            part.h_BH.data = torch.zeros_like(part.h_BH)
            if name == "lstm":
                part.c_BH.data = torch.zeros_like(part.c_BH)
        del part
        actual, _ = model.step(x[:, 0], state)
        expected, _ = model.step(x[:, 0], model.init_state(2))
    assert_same(actual, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_no_gradient(name: str) -> None:
    model, x = model_of(name), inputs()
    found = []
    for is_between in (False, True):
        output, state = model.scan(x, model.init_state(2))
        if is_between:
            detached = [type(part)(*(p.detach() if isinstance(p, Tensor) else p for p in part)) for part in state]
            with torch.no_grad():
                for one in x.unbind(1):
                    _, detached = model.step(one, detached)
        found.append(list(torch.autograd.grad(output.square().sum(), list(model.parameters()))))
    assert_same(found[1], found[0])


def test_a_state_that_autograd_saved_is_not_changed_silently() -> None:
    model, x = model_of("rnn"), inputs()
    with torch.no_grad():
        _, state = model.step(x[:, 0], model.init_state(2))
    output = model.scan(x, state)[0]
    with torch.no_grad():
        model.step(x[:, 0], state)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_given_state_is_not_written() -> None:
    model, x = model_of("lstm"), inputs()
    with torch.no_grad():
        state = model.init_state(2)
        model.step(x[:, 0], state)
        assert all(not part.any() for layer in state for part in layer)


def test_a_cache_with_a_wrong_length_is_refused() -> None:
    model, x = model_of("transformer"), inputs()
    with torch.no_grad():
        _, state = model.scan(x, model.init_state(2))
        assert model._stepper.step(model, x[:, 0], state) is not None
        for change in ({"length": -1}, {"length": STEPS + 100}, {"position": 2}, {"length": 1.0}):
            wrong = [part._replace(**change) for part in state]
            assert model._stepper.step(model, x[:, 0], wrong) is None


# defaults, contexts


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore torch's default dtype and device after the test."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.device("meta")], ids=str)
def test_outputs_do_not_depend_on_the_defaults(name: str, default: Any) -> None:
    model, x = model_of(name), inputs(40, steps=9)
    expected, expected_gradients = steps(model, x), gradients(model, x)
    if isinstance(default, torch.device):
        torch.set_default_device(default)
    else:
        torch.set_default_dtype(default)
    actual, actual_gradients = steps(model, x), gradients(model, x)
    for tensor in (actual, *actual_gradients):
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu"
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    assert_same([actual, *actual_gradients], [expected, *expected_gradients])


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_and_empty_sequences(name: str) -> None:
    model = model_of(name)
    for backend in ("auto", "fused", "reference"):
        for layer in model.layers:
            layer.backend = backend  # type: ignore[assignment]
        empty = inputs()[:0]
        assert model(empty).shape == (0, STEPS, OUTPUTS)
        assert steps(model, empty).shape == (0, STEPS, OUTPUTS)
        assert_same(gradients(model, empty)[1], torch.zeros_like(next(model.parameters())))
        for run in (model, model.layers[0]):
            x = torch.zeros(2, 0, CHANNELS if run is model or name != "transformer" else WIDTH)
            with pytest.raises(ValueError, match="no steps"):
                run(x)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(name: str, reentrant: bool) -> None:
    model, x = model_of(name), inputs().requires_grad_()
    expected = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()])
    output = checkpoint(model, x, use_reentrant=reentrant)
    assert isinstance(output, Tensor)
    output.square().sum().backward()
    assert x.grad is not None
    assert_same([x.grad, *(p.grad for p in model.parameters())], list(expected))


@pytest.mark.parametrize("name", NAMES)
def test_batched_gradients(name: str) -> None:
    model, x = model_of(name), inputs().requires_grad_()
    output = model(x)
    seeds = torch.randn(3, *output.shape, generator=torch.Generator().manual_seed(5))
    wanted = [x, *model.parameters()]
    batched = torch.autograd.grad(output, wanted, seeds, is_grads_batched=True, retain_graph=True)
    for i, seed in enumerate(seeds):
        expected = torch.autograd.grad(output, wanted, seed, retain_graph=True)
        assert_same([gradient[i] for gradient in batched], list(expected))


@pytest.mark.parametrize("kind", ["expanded", "strided", "negated"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_inputs_of_unusual_layouts(name: str, kind: str) -> None:
    model, x = model_of(name), inputs()
    layouts: dict[str, Callable[[Tensor], Tensor]] = {
        "expanded": lambda tensor: tensor[:1, :1].expand(tensor.shape),
        "strided": lambda tensor: tensor.mT.contiguous().mT,
        "negated": torch._neg_view,
    }
    x = layouts[kind](x)
    seed = layouts[kind](torch.randn(2, STEPS, OUTPUTS, generator=torch.Generator().manual_seed(5)))

    def run() -> list[Tensor]:
        return [steps(model, x), *torch.autograd.grad(model(x), list(model.parameters()), seed)]

    with by_equations(model):
        expected = run()
    assert_same(run(), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_the_equations(name: str, dtype: torch.dtype) -> None:
    model, x = model_of(name), inputs()
    expected = model(x)
    low = copy.deepcopy(model).to(dtype)
    for output in (low(x.to(dtype)), steps(low, x.to(dtype))):
        assert output.dtype == dtype
        torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(x).float(), expected, rtol=0, atol=0.2)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_traced_model_reads_its_inputs(name: str) -> None:
    model, x = model_of(name), inputs()
    with torch.no_grad():
        traced = torch.jit.trace(model, (x,), check_trace=False)
        assert_same(traced(x + 1), model(x + 1))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # raised by torch inside jvp
@pytest.mark.parametrize("name", NAMES)
def test_forward_mode_tangents_pass_through_steps(name: str) -> None:
    model, x = model_of(name), inputs()
    steps(model, x)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x[:, 0].contiguous(), torch.ones_like(x[:, 0]))
        found = outcome(lambda: model.step(dual, model.init_state(2))[0])
        with by_equations(model):
            expected = outcome(lambda: model.step(dual, model.init_state(2))[0])
        if isinstance(expected, type):  # torch has no forward-mode AD of attention on the CPU
            assert found is expected and name == "transformer"
        else:
            assert_same(forward_ad.unpack_dual(found).tangent, forward_ad.unpack_dual(expected).tangent)


# threads, long streams


@pytest.mark.parametrize("spec", ["transformer", "transformer:positions=sinusoidal", "transformer:positions=learned"])
def test_one_layer_in_two_models_in_two_threads(spec: str) -> None:
    first = model_of(spec)
    second = SequenceModel(first.encoder, list(first.layers), nn.Linear(WIDTH, OUTPUTS))
    jobs = [(first, inputs(1, 300)), (second.eval(), inputs(3, 200))]
    with torch.no_grad():
        expected = [model(x) for model, x in jobs]
    found: list[Any] = [None, None]

    def run(number: int) -> None:
        model, x = jobs[number]
        found[number] = steps(model, x)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(found, expected)


def test_no_tensor_of_one_call_stays_on_a_layer() -> None:
    for spec in ("transformer:window=4", "transformer:window=4,positions=sinusoidal"):
        model = model_of(spec)
        steps(model, inputs(1, 50))
        for layer in model.layers:
            assert not [name for name, value in vars(layer).items() if isinstance(value, Tensor)]


@pytest.mark.parametrize("spec", ["transformer:window=3", "transformer:window=3,positions=sinusoidal"])
def test_steps_far_from_the_start_equal_the_equations(spec: str) -> None:
    model, x = model_of(spec), inputs(1, 6)
    double = copy.deepcopy(model).double()
    for position in (BLOCK - 3, 10 * BLOCK + 5, 3_000_000):
        with torch.no_grad():
            _, state = model.scan(x, model.init_state(1))
            state = [part._replace(position=position) for part in state]
            expected_state = [
                type(part)(part.keys_BNSK.double(), part.values_BNSK.double(), part.length, position) for part in state
            ]
            actual, expected = steps(model, x, state), steps(double, x.double(), expected_state)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4)
