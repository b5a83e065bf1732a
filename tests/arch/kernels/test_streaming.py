"""Compare the compiled step with the equations: same numbers, current weights, and a fallback to the equations."""

# Shape suffixes: B batch, T time

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import arch
from arch import SequenceModel
from arch.core.compiled import guards

SPECS = [
    "rnn",
    "rnn:nonlinearity=relu,init=orthogonal",
    "rnn:bias=False",
    "lstm",
    "lstm:bias=False,forget_bias=1",
    "gru",
    "gru:bias=False",
    "gru:reset=before",
    "transformer",
    "transformer:heads=1,expansion=3",
    "transformer:positions=alibi",
    "transformer:positions=none,window=3",
    "transformer:positions=alibi,window=2",
    "transformer:positions=learned",
    "transformer:positions=sinusoidal",
]
TOLERANCE = 1e-5
"""Tolerance relative to the largest expected number, or to 1 if all numbers are smaller.

Reordered float32 sums differ by about 1e-7 per step. A wrong term causes an error of about 1e-2.
"""
WIDTHS = (4, 8, 16, 20, 36, 64)
VOCABULARY, CHANNELS, OUTPUTS, STEPS = 7, 3, 5, 9


def model_of(spec: str, width: int = 20, *, tokens: bool = False, depth: int = 2) -> SequenceModel:
    reads: dict[str, int] = {"vocabulary": VOCABULARY} if tokens else {"channels": CHANNELS}
    model = arch.build(spec, outputs=OUTPUTS, width=width, depth=depth, seed=0, **reads)
    with torch.no_grad():
        for parameter in model.parameters():  # so that no bias is 0 and no gain 1
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def inputs(batch: int, tokens: bool = False, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    if tokens:
        return torch.randint(VOCABULARY, (batch, steps), generator=generator)
    return torch.randn(batch, steps, CHANNELS, generator=generator)


def compiled(model: SequenceModel, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Return the outputs and the final state of repeated compiled steps.

    If `state` is None, the stream starts from the empty state. `state` may be modified in place. The test fails if the
    kernel does not run.
    """
    outputs = []
    with torch.inference_mode():
        state = model.init_state(len(x)) if state is None else state
        for one in x.unbind(1):
            found = model._stepper.step(model, one, state)
            assert found is not None, "the compiled step did not run"
            outputs.append(found[0])
            state = found[1]
    return torch.stack(outputs, 1), state


def by_equations(model: SequenceModel, x: Tensor) -> Tensor:
    double = copy.deepcopy(model).double()
    with torch.no_grad():
        outputs: Tensor = double(x if x.dtype == torch.int64 else x.double())
    return outputs.float()


def assert_close(actual: Tensor, expected: Tensor) -> None:
    tolerance = TOLERANCE * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("tokens", [False, True], ids=["reals", "tokens"])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_equal_the_equations(spec: str, tokens: bool, batch: int) -> None:
    model, x = model_of(spec, tokens=tokens), inputs(batch, tokens)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    spec=st.sampled_from(SPECS),
    width=st.sampled_from(WIDTHS),
    batch=st.integers(1, 20),
    depth=st.integers(1, 3),
    steps=st.integers(1, 40),
)
def test_random_sizes(spec: str, width: int, batch: int, depth: int, steps: int) -> None:
    model, x = model_of(spec, width, depth=depth), inputs(batch, steps=steps)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", ["rnn", "gru", "gru:reset=before", "lstm"])
@pytest.mark.parametrize("width", [1, 5, 17, 33])
def test_odd_widths(spec: str, width: int) -> None:
    model, x = model_of(spec, width), inputs(2)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", SPECS)
def test_steps_continue_a_scan_and_a_scan_continues_steps(spec: str) -> None:
    model, x = model_of(spec), inputs(2, steps=12)
    expected = by_equations(model, x)
    with torch.inference_mode():
        first, state = model.scan(x[:, :5], model.init_state(2))
        middle, state = compiled(model, x[:, 5:8], state)
        last, _ = model.scan(x[:, 8:], state)
    assert_close(torch.cat([first, middle, last], 1), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_streams_and_copies_share_no_memory(spec: str) -> None:
    model, x = model_of(spec), inputs(4)
    expected = by_equations(model, x)
    with torch.inference_mode():
        states: list[Any] = [model.init_state(1) for _ in range(4)]
        for t in range(STEPS):
            for row in range(4):
                kept = arch.copy_state(states[row])
                model.step(x[row : row + 1, t] + 1, arch.copy_state(states[row]))
                output, states[row] = model.step(x[row : row + 1, t], kept)
                assert_close(output, expected[row : row + 1, t])


def _optimiser_step(model: SequenceModel) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    model(inputs(2)).square().sum().backward()
    optimiser.step()


def _edited_behind_the_counter(model: SequenceModel) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.5)


def _replaced(model: SequenceModel) -> None:
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                setattr(module, name, nn.Parameter(parameter.detach() * 0.5))


def _moved(model: SequenceModel) -> None:
    model.to(torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    model.to(torch.float32)


CHANGES: dict[str, Callable[[SequenceModel], object]] = {
    "optimiser step": _optimiser_step,
    "load_state_dict": lambda model: model.load_state_dict(
        {name: tensor * 0.5 for name, tensor in model.state_dict().items()}
    ),
    "edited through .data": _edited_behind_the_counter,
    "parameters replaced": _replaced,
    "to another type and back": _moved,
    "another readout": lambda model: setattr(model, "readout", nn.Linear(model.width, OUTPUTS)),
    "a layer more": lambda model: model.layers.append(model_of("rnn", 20, depth=2).layers[1]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", ["rnn", "gru", "lstm", "transformer"])
def test_changed_weights_take_effect(spec: str, change: str) -> None:
    model, x = model_of(spec), inputs(2)
    before = compiled(model, x)[0]
    CHANGES[change](model)
    expected = by_equations(model, x)
    assert (expected - before).abs().max() > 1e-3
    assert_close(compiled(model, x)[0], expected)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_a_copied_model_has_its_own_weights(copied: Callable[[SequenceModel], SequenceModel]) -> None:
    model, x = model_of("lstm"), inputs(2)
    before = compiled(model, x)[0]
    other = copied(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    assert_close(compiled(other, x)[0], by_equations(other, x))
    assert torch.equal(compiled(model, x)[0], before)


def _hooked(model: SequenceModel) -> SequenceModel:
    model.readout.register_forward_hook(lambda module, given, output: output + 1)
    return model


def _dropping(model: SequenceModel) -> SequenceModel:
    model.dropout.p = 0.5
    return model.train()


def _by_equations(model: SequenceModel) -> SequenceModel:
    model.layers[1].backend = "reference"  # type: ignore[assignment]
    return model


def _of_another_class(model: SequenceModel) -> SequenceModel:
    class Own(type(model.layers[0])):  # type: ignore[misc]
        pass

    model.layers[0].__class__ = Own
    return model


def _strided(model: SequenceModel) -> SequenceModel:
    assert isinstance(model.readout, nn.Linear)
    model.readout.weight.data = model.readout.weight.data.T.contiguous().T
    return model


REFUSED: dict[str, Callable[[SequenceModel], SequenceModel]] = {
    "float64": lambda model: model.double(),
    "hooks": _hooked,
    "dropout": _dropping,
    "backend=reference": _by_equations,
    "a subclass": _of_another_class,
    "strided weights": _strided,
    "another readout": lambda model: setattr(model, "readout", nn.Sequential(model.readout)) or model,  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("late", [False, True], ids=["first", "after a compiled step"])
@pytest.mark.parametrize("why", REFUSED)
def test_fallback_to_the_equations(why: str, late: bool) -> None:
    model, x = model_of("lstm"), inputs(2)
    if late:
        compiled(model, x)
    model = REFUSED[why](model)
    one = x[:, 0].to(next(model.parameters()).dtype)
    with torch.inference_mode():
        assert model._stepper.step(model, one, model.init_state(2)) is None
        torch.manual_seed(0)
        output, _ = model.step(one, model.init_state(2))
        torch.manual_seed(0)
        hidden, states = model.encoder(one), model.init_state(2)
        for i, layer in enumerate(model.layers):
            hidden, _ = layer.step(hidden if i == 0 else model.dropout(hidden), states[i])  # type: ignore[operator]
        torch.testing.assert_close(output, model.readout(hidden))


def test_unsupported_inputs_and_states_run_the_equations() -> None:
    model, x = model_of("lstm"), inputs(2)[:, 0]
    (h_BH, c_BH), second = model.init_state(2)
    State = type(second)
    with torch.inference_mode():
        for state in (
            [State(h_BH.double(), c_BH), second],
            [State(h_BH[:, :3], c_BH), second],
            [(h_BH, c_BH), second],
            [second],
            model.init_state(3),
        ):
            assert model._stepper.step(model, x, state) is None
        for wrong in (x.double(), x[:, :2], x[0], x.expand(100, 2, 3)[:, 0]):
            assert model._stepper.step(model, wrong, model.init_state(len(wrong))) is None
        found = model._stepper.step(model, x.T.contiguous().T, model.init_state(2))
        assert found is not None
        assert_close(found[0], model.scan(x[:, None], model.init_state(2))[0][:, 0])


def test_states_that_share_memory_or_are_strided() -> None:
    model, x = model_of("lstm"), inputs(2)
    memory = torch.randn(2, 20, generator=torch.Generator().manual_seed(3))
    second = model.init_state(2)[1]
    State = type(second)
    with torch.inference_mode():
        for first, other in (
            (State(memory, memory), second),
            (State(memory.T.contiguous().T, memory[:1].expand(2, 20)), second),
            (second, second),
            (State(memory, memory), State(memory, memory)),
        ):
            expected, _ = model.scan(x, [first, other])
            assert_close(compiled(model, x, [first, other])[0], expected)
            assert not second.h_BH.any() and not second.c_BH.any()


def test_counted_operations_are_those_of_the_equations() -> None:
    model, x = model_of("lstm"), inputs(1)[:, 0]
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.step(x, model.init_state(1))
    assert counter.get_total_flops() > 0


def test_an_unknown_token_is_refused() -> None:
    model = model_of("gru", tokens=True)
    for token in (VOCABULARY, -1):
        with torch.inference_mode(), pytest.raises(IndexError):
            model.step(torch.tensor([token]), model.init_state(1))


def test_gradients_flow_through_steps() -> None:
    model, x = model_of("lstm"), inputs(2)
    state, outputs = model.init_state(2), []
    for one in x.unbind(1):
        output, state = model.step(one, state)
        outputs.append(output)
    gradients = torch.autograd.grad(torch.stack(outputs, 1).sum(), list(model.parameters()))
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    for one, other in zip(gradients, expected, strict=True):
        assert_close(one, other)


def test_two_threads_share_one_model() -> None:
    model, x = model_of("gru"), inputs(2, steps=200)
    expected = by_equations(model, x)
    found: list[Tensor] = [torch.empty(0)] * 2

    def stream(row: int) -> None:
        found[row] = compiled(model, x[row : row + 1])[0]

    threads = [threading.Thread(target=stream, args=(row,)) for row in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_close(torch.cat(found), expected)


def test_a_step_allocates_no_more_than_its_state() -> None:
    model, x = model_of("lstm"), inputs(1)
    state = model.init_state(1)
    before = arch.state_bytes(state)
    _, after = compiled(model, x, state)
    assert arch.state_bytes(after) == before


@pytest.mark.parametrize("missing", [{"_TensorGuards": None}, {"_memory_function": 0}], ids=["guard", "addresses"])
@pytest.mark.parametrize("spec", ["rnn", "lstm", "transformer"])
def test_without_a_private_function_of_torch(
    spec: str, missing: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in missing.items():
        monkeypatch.setattr(guards, name, value)
    model, x = model_of(spec), inputs(2)
    before, state = compiled(model, x)
    assert_close(before, by_equations(model, x))
    _edited_behind_the_counter(model)
    assert_close(compiled(model, x)[0], by_equations(model, x))
    _strided(model)
    with torch.inference_mode():
        assert model._stepper.step(model, x[:, 0], state) is None
    model.double()
    with torch.inference_mode():
        assert model._stepper.step(model, x[:, 0], state) is None
