"""Compare the kernels of the LSTM's variants, of sLSTM and of echo state networks with the equations."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import arch
from arch import RecurrentLayer, State
from arch.core.compiled.program import MIN_PACKED_STEPS
from arch.kernels.cells import exponential
from arch.kernels.runtime import threads as _threads
from tests.arch.fused import assert_same, layer_of
from tests.arch.kernels import test_stream, test_streaming, test_training
from tests.arch.kernels.test_streaming import assert_close, by_equations, compiled, inputs, model_of
from tests.arch.kernels.test_training import SIZES, applied, results

VARIANTS = ["lstm:forget=coupled", "lstm:forget=none", "lstm:forget=coupled,bias=False,init=orthogonal"]
STREAMED = [
    "lstm:forget=coupled",
    "lstm:forget=none,peepholes=True",
    "lstm:peepholes=True,forget_bias=1,bias=False",
    "lstm:forget=coupled,peepholes=True",
    "slstm",
    "slstm:heads=2,block=bare",
    "esn",
    "esn:connections=3,leak=0.4",
    "esn:block=residual,expansion=2",
]

LONG_TOLERANCE = 1e-3
"""Tolerance after 65,536 steps: a cell that forgets nothing adds up the rounding of each step."""


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", VARIANTS)
def test_variants_without_a_learned_forget_gate_run_the_kernel_of_the_lstm(
    spec: str, sizes: tuple[int, int, int, int]
) -> None:
    test_training.compare(spec, *sizes, seed=0)


def test_a_forget_gate_of_one_keeps_the_cell_exactly() -> None:
    layer, steps = layer_of("lstm:forget=none", 1, 16), 3000
    with torch.no_grad():
        for weight in (layer.W_GD, layer.U_GH, layer.b_G):
            weight.zero_()  # type: ignore[union-attr, operator]
        layer.b_G[:16] = -200  # type: ignore[index]
        state = type(layer.init_state(1))(torch.zeros(1, 16), torch.linspace(-2, 2, 16)[None])
        assert torch.equal(layer.scan(torch.zeros(1, steps, 1), state)[1].c_BH, state.c_BH)


def test_peepholes_have_no_training_kernel() -> None:
    layer, x_BTD = layer_of("lstm:peepholes=True", 3, 8, "auto"), torch.randn(2, 5, 3)
    assert layer.backend_for(x_BTD) == "reference"
    layer.backend = "fused"
    with pytest.raises(ValueError, match="backend=fused cannot run here: the kernel has no peepholes"):
        layer(x_BTD)


def slstm_and_state(batch: int, inputs: int, width: int, seed: int = 0) -> tuple[RecurrentLayer, Any]:
    """Return a layer with random weights, and a state with a normaliser above 0, as every state after a step has it."""
    torch.manual_seed(seed)
    heads = next(heads for heads in (4, 3, 2, 1) if width % heads == 0)
    layer = layer_of(f"slstm:heads={heads}", inputs, width)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    h_BH, c_BH, n_BH, m_BH = (torch.randn(batch, width) for _ in range(4))
    parts = (h_BH, c_BH, 1 + n_BH.exp(), 2 * m_BH)
    return layer, type(layer.init_state(batch))(*(part.requires_grad_() for part in parts))


def both(layer: RecurrentLayer, x_BTD: Tensor, state: State, with_final: bool = True) -> tuple[list[Tensor], Any]:
    """Return the results of kernel and equations: outputs, final state and gradients."""
    B, T, _ = x_BTD.shape
    sees = [torch.randn(B, T, layer.width)] + [torch.randn(B, layer.width) * with_final for _ in state]
    return results(layer, "fused", x_BTD, state, sees), results(layer, "reference", x_BTD, state, sees)


@pytest.mark.parametrize("sizes", [*SIZES, (5, 300, 2, 12)], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_slstm(sizes: tuple[int, int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    batch, steps, inputs, width = sizes
    layer, state = slstm_and_state(batch, inputs, width)
    assert_same(*both(layer, torch.randn(batch, steps, inputs, requires_grad=True), state))


def test_slstm_from_the_empty_state_with_gates_of_any_size() -> None:
    layer, _ = slstm_and_state(4, 3, 20)
    empty = type(layer.init_state(4))(*(part.requires_grad_() for part in layer.init_state(4)))
    for scale in (1, 30, 1000):
        x_BTD = (scale * torch.randn(4, 9, 3)).requires_grad_()
        actual, expected = both(layer, x_BTD, empty, with_final=False)
        assert all(part.isfinite().all() for part in (*actual[:4], *actual[5:]))
        if scale == 1:
            assert_same(actual, expected)
        else:  # m is as large as the inputs
            assert_same(actual[:1], expected[:1])


def test_slstm_carries_state_and_gradient_across_chunks() -> None:
    layer, state = slstm_and_state(3, 2, 12)
    x_BTD, found = torch.randn(3, 11, 2), []
    for sizes in ([11], [1, 2, 8], [5, 6]):
        after, outputs = state, []
        for chunk_BTD in x_BTD.split(sizes, 1):
            output_BTH, after = layer.scan(chunk_BTD, after)
            outputs.append(output_BTH)
        total = torch.cat(outputs, 1)
        gradients = torch.autograd.grad(total.square().sum(), [*state, *layer.parameters()])
        found.append([total.detach(), *(part.detach() for part in after), *gradients])
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_second_derivatives_of_slstm() -> None:
    layer, state = slstm_and_state(2, 2, 8)
    x_BTD, found = torch.randn(2, 4, 2, requires_grad=True), []
    for backend in ("fused", "reference"):
        layer.backend = backend  # type: ignore[assignment]
        learned = [x_BTD, layer.U_GK, state.c_BH]
        first = torch.autograd.grad(layer.scan(x_BTD, state)[0].square().sum(), learned, create_graph=True)
        total = torch.stack([part.square().sum() for part in first]).sum()
        found.append(list(torch.autograd.grad(total, [x_BTD, *layer.parameters()])))  # type: ignore[list-item]
    assert_same(*found)


def test_slstm_does_not_change_its_state() -> None:
    layer, state = slstm_and_state(3, 2, 12)
    kept = arch.copy_state(state)
    with torch.no_grad():
        without, after = layer.scan(torch.ones(3, 6, 2), state)
    assert all(torch.equal(one, other) for one, other in zip(state, kept, strict=True))
    assert torch.equal(without, layer.scan(torch.ones(3, 6, 2), state)[0])
    assert arch.state_bytes(after) == arch.state_bytes(layer.init_state(3))


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["slstm", "esn", "lstm:forget=none"])
def test_65536_steps(spec: str) -> None:
    torch.manual_seed(0)
    layer, x_BTD = layer_of(spec, 1, 16, "auto"), torch.randn(1, 65_536, 1)
    with torch.no_grad():
        outputs_BTH, _ = layer.scan(x_BTD, layer.init_state(1))
        begin = layer.init_state(1)
        for chunk_BTD in x_BTD.split(4096, 1):
            chunk_BTH, begin = layer.scan(chunk_BTD, begin)
    torch.testing.assert_close(chunk_BTH, outputs_BTH[:, -4096:], rtol=0, atol=LONG_TOLERANCE)
    model = arch.SequenceModel(torch.nn.Identity(), [layer], torch.nn.Linear(16, 1)).eval()
    with torch.inference_mode():
        streamed_BTO = model.stream(x_BTD, model.init_state(1))[0]
        torch.testing.assert_close(streamed_BTO, model.readout(outputs_BTH), rtol=0, atol=LONG_TOLERANCE)
    if list(layer.parameters()):
        layer(x_BTD).square().mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("sizes", [*SIZES, (5, 9, 30, 40)], ids=str)
@pytest.mark.parametrize("spec", ["esn", "esn:connections=3,leak=0.4,spectral_radius=1.1"])
def test_esn(spec: str, sizes: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    test_training.compare(spec, *sizes, seed=0)


def test_a_reservoir_has_gradients_only_if_its_inputs_need_them() -> None:
    layer, x_BTD = layer_of("esn", 3, 20), torch.randn(2, 5, 3)
    assert not list(layer.parameters()) and not layer(x_BTD).requires_grad
    learned_BTD = x_BTD.clone().requires_grad_()
    layer(learned_BTD).sum().backward()
    assert learned_BTD.grad is not None and learned_BTD.grad.all()


def test_second_derivatives_of_esn() -> None:
    layer, x_BTD, found = layer_of("esn", 3, 12), torch.randn(2, 5, 3, requires_grad=True), []
    for backend in ("fused", "reference"):
        layer.backend = backend  # type: ignore[assignment]
        (first,) = torch.autograd.grad(layer(x_BTD).square().sum(), x_BTD, create_graph=True)
        found.append(list(torch.autograd.grad(first.square().sum(), [x_BTD])))
    assert_same(*found)


@pytest.mark.parametrize("spec", STREAMED)
def test_streams(spec: str) -> None:
    for tokens in (False, True):
        for batch in (1, 3):
            test_streaming.test_steps_equal_the_equations(spec, tokens, batch)
            test_stream.test_a_stream_equals_the_equations(spec, tokens, batch)
    test_streaming.test_steps_continue_a_scan_and_a_scan_continues_steps(spec)
    test_streaming.test_streams_and_copies_share_no_memory(spec)


@pytest.mark.parametrize("spec", STREAMED)
@pytest.mark.parametrize("width", [4, 12, 36, 68])
def test_streams_of_any_width(spec: str, width: int) -> None:
    model, x = model_of(spec, width), inputs(2, steps=MIN_PACKED_STEPS + 1)
    expected = by_equations(model, x)
    assert_close(test_stream.compiled_stream(model, x)[0], expected)
    assert_close(compiled(model, x[:, :5])[0], expected[:, :5])


def test_stated_error_of_the_logarithm_of_the_sigmoid() -> None:
    x_N = np.concatenate([np.linspace(-80, 80, 200_001), np.geomspace(1e-9, 1, 5000), -np.geomspace(1e-9, 1, 5000)])
    exact_N = -np.logaddexp(0, -x_N.astype(np.float32).astype(np.float64))
    error_N = np.abs(applied(exponential.log_sigmoid, x_N.astype(np.float32)) - exact_N) / np.abs(exact_N)
    assert exponential.MAX_ERROR / 4 < error_N.max() <= exponential.MAX_ERROR
