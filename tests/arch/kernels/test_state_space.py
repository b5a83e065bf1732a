"""Compare the kernels of the state-space models with the equations in float64: scans, gradients, steps and streams."""

# Shape suffixes: B batch, T time, H width

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from arch.kernels.runtime import threads as _threads
from arch.kernels.training.state_space.structured_scan import CHUNK
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import CHANGES, assert_close, by_equations, compiled, inputs, model_of

SPECS = [
    "mamba",
    "mamba:conv=0,expand=1,states=3",
    "mamba:states=17,negative=True",
    "s4d",
    "s4d:states=2",
    "s4d:states=34",
]
SIZES = [(1, 1, 1), (2, 2, 16), (3, 1, 5), (2, 3, 17), (1, CHUNK, 24), (3, CHUNK + 1, 33), (9, 2 * CHUNK + 5, 8)]
"""Batch, steps and width. Some fill whole vectors and chunks, others are slightly smaller or larger."""
RELATIVE_TOLERANCE = 2e-5
"""Tolerance relative to the largest number of a tensor, or to 1e-3 if it is smaller: float32 against float64."""


def layer_of(spec: str, width: int, backend: str = "fused") -> Any:
    """Return a layer without a block, with perturbed weights."""
    torch.manual_seed(0)
    selected = arch.get(spec).with_options({"backend": backend})
    layer = selected.layer(width, width, **selected.options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return layer


def random_state(layer: Any, batch: int) -> Any:
    empty = layer.init_state(batch)
    return type(empty)(*(None if part is None else torch.randn(part.shape, requires_grad=True) for part in empty))


def results(layer: Any, x_BTD: Tensor, state: Any) -> list[Tensor]:
    """Return outputs and last state, and the gradients of a weighted sum of them."""
    output_BTH, after = layer.scan(x_BTD, state)
    found = [output_BTH, *(part for part in after if part is not None)]
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(part.shape, generator=generator) for part in found]
    total = sum((part * weight).sum() for part, weight in zip(found, weights, strict=True))
    by = [x_BTD, *(part for part in state if part is not None), *layer.parameters()]
    return [tensor.detach() for tensor in (*found, *torch.autograd.grad(total, by))]


def in_float64(layer: Any, x_BTD: Tensor, state: Any) -> list[Tensor]:
    """Return what `results` returns by the equations in float64, rounded to float32."""
    exact = copy.deepcopy(layer).double()
    exact.backend = "reference"
    begin = type(state)(*(None if part is None else part.detach().double().requires_grad_() for part in state))
    return [tensor.float() for tensor in results(exact, x_BTD.detach().double().requires_grad_(), begin)]


def assert_same(actual: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        tolerance = RELATIVE_TOLERANCE * max(float(other.abs().max()), 1e-3)
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def compare(spec: str, batch: int, steps: int, width: int) -> None:
    layer = layer_of(spec, width)
    x_BTD, state = torch.randn(batch, steps, width, requires_grad=True), random_state(layer, batch)
    assert layer.backend_for(x_BTD, state) == "fused"
    assert_same(results(layer, x_BTD, state), in_float64(layer, x_BTD, state))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_scans_and_gradients_equal_the_equations(spec: str, sizes: tuple[int, int, int]) -> None:
    compare(spec, *sizes)


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_two_threads_equal_the_equations(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    compare(spec, 37, CHUNK + 3, 10)


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_inputs_and_gradients_in_any_layout(spec: str) -> None:
    layer = layer_of(spec, 12)
    wide_TBD = torch.randn(20, 3, 24)
    x_BTD = wide_TBD.transpose(0, 1)[:, :, ::2].detach().requires_grad_()
    state = random_state(layer, 3)
    moved = type(state)(*(part.detach().mT.contiguous().mT.requires_grad_() for part in state))
    assert not x_BTD.is_contiguous() and not moved[0].is_contiguous()
    assert_same(results(layer, x_BTD, moved), in_float64(layer, x_BTD, moved))


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_chunks_carry_the_state_and_its_gradient(spec: str) -> None:
    layer, x_BTD = layer_of(spec, 19), torch.randn(2, 2 * CHUNK + 3, 19)
    found = []
    for sizes in ([2 * CHUNK + 3], [1, CHUNK, CHUNK + 2], [2, 2 * CHUNK + 1]):
        state, outputs = layer.init_state(2), []
        for chunk_BTD in x_BTD.split(sizes, 1):
            output_BTH, state = layer.scan(chunk_BTD, state)
            outputs.append(output_BTH)
        total = torch.cat(outputs, 1)
        loss = total.square().sum() + state[0].sum()
        found.append([total.detach(), *torch.autograd.grad(loss, list(layer.parameters()))])
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_second_derivatives_use_the_equations(spec: str) -> None:
    found = {}
    for backend in ("fused", "reference"):
        layer, x_BTD = layer_of(spec, 6, backend), torch.ones(2, 5, 6, requires_grad=True)
        (slope,) = torch.autograd.grad(layer(x_BTD).pow(3).sum(), x_BTD, create_graph=True)
        found[backend] = [slope.detach(), *torch.autograd.grad(slope.square().sum(), [x_BTD, *layer.parameters()])]
    assert_same(found["fused"], found["reference"])


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_given_tensors_are_not_changed(spec: str) -> None:
    layer, x_BTD = layer_of(spec, 9), torch.randn(2, 7, 9)
    state = random_state(layer, 2)
    kept = arch.copy_state(state)
    output_BTH, after = layer.scan(x_BTD, state)
    before_BTH = output_BTH.detach().clone()
    (output_BTH.sum() + after[0].sum()).backward()
    assert all(torch.equal(one, other) for one, other in zip(state, kept, strict=True))
    assert torch.equal(output_BTH, before_BTH)
    assert arch.state_bytes(after) == arch.state_bytes(layer.init_state(2)), "the state shares other memory"


def test_a_state_space_model_without_decay_gives_nan() -> None:
    layer = layer_of("s4d:states=2", 3)
    with torch.no_grad():
        layer.A_imag_NH.zero_()
        layer.A_log_NH.fill_(-1e4)
    output_BTH = layer(torch.ones(2, 5, 3))
    output_BTH.sum().backward()
    assert bool(output_BTH.isnan().all()) and bool(layer.C_PNH.grad.isnan().all())


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_and_streams_equal_the_equations(spec: str, batch: int) -> None:
    model, x = model_of(spec), inputs(batch, steps=40)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("width", [1, 5, 17, 33])
def test_odd_widths(spec: str, width: int) -> None:
    model, x = model_of(spec, width), inputs(2)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", ["mamba", "mamba:block=bare", "s4d", "s4d:block=bare,conv=4", "s4d:expansion=2"])
def test_scans_steps_and_streams_continue_each_other(spec: str) -> None:
    model, x = model_of(spec), inputs(2, steps=20)
    with torch.inference_mode():
        first, state = model.scan(x[:, :5], model.init_state(2))
        second, state = compiled(model, x[:, 5:8], state)
        third, state = compiled_stream(model, x[:, 8:13], state)
        kept = arch.copy_state(state)
        last, _ = model.scan(x[:, 13:], state)
        again, _ = compiled(model, x[:, 13:], kept)
    expected = by_equations(model, x)
    assert_close(torch.cat([first, second, third, last], 1), expected)
    assert_close(again, expected[:, 13:])


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_take_effect(spec: str, change: str) -> None:
    model, x = model_of(spec), inputs(2)
    before, _ = compiled(model, x)
    CHANGES[change](model)
    expected = by_equations(model, x)
    assert (expected - before).abs().max() > 1e-3
    assert_close(compiled(model, x)[0], expected)


@pytest.mark.parametrize("name", ["step_log_H", "A_log_NH", "A_imag_NH", "C_PNH"])
def test_a_single_changed_weight_of_s4d_takes_effect(name: str) -> None:
    model, x = model_of("s4d"), inputs(1)
    compiled(model, x)
    layer: Any = model.layers[0]
    with torch.no_grad():
        getattr(layer.layer, name).view(-1)[-1] += 0.5
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_float32_stays_sound_over_65536_steps(spec: str) -> None:
    steps = 65_536
    layer = arch.get(spec).layer(16, 16)
    x_BTD = torch.randn(1, steps, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    output_BTH, _ = layer.scan(x_BTD, layer.init_state(1))
    gradients = torch.autograd.grad(output_BTH.square().mean(), [x_BTD, *layer.parameters()])
    assert all(tensor.isfinite().all() for tensor in (output_BTH, *gradients))
    encoder, readout = torch.nn.Identity(), torch.nn.Linear(16, 16, bias=False)
    torch.nn.init.eye_(readout.weight)
    model = arch.SequenceModel(encoder, [layer], readout).eval()
    stepped, _ = compiled_stream(model, x_BTD.detach())
    tolerance = 1e-4 * float(output_BTH.detach().abs().max())
    torch.testing.assert_close(output_BTH.detach(), stepped, rtol=0, atol=tolerance)
