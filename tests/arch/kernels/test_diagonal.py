"""Compare the kernels of the diagonal recurrences with the equations: training, streams, and the recurrence itself."""

# Shape suffixes: B batch, T time, H hidden width, N numbers

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import arch
from arch.core import diagonal
from arch.kernels.reference import diagonal as plain
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.vector import LANES
from arch.kernels.streaming import lru_step
from arch.kernels.training import diagonal as kernel
from tests.arch.fused import assert_same
from tests.arch.kernels import test_reference, test_stream, test_streaming, test_training

MINIMAL = ["min_gru", "min_gru:signed=True,bias=False", "min_lstm:forget_bias=1,bias=False", "min_lstm"]
INDEPENDENT = ["ind_rnn", "ind_rnn:nonlinearity=relu,signed=True,bias=False"]
OF_OTHER_STATES = ["rg_lru", "lru", "lru:states=21,output=linear"]
SPECS = [*MINIMAL, *INDEPENDENT, *OF_OTHER_STATES]
SIZES = [(1, 1, 1, 1), (1, 3, 5, 16), (2, 1, 4, 5), (9, 6, 2, 34)]
"""Batch, steps, inputs and width. `lru` has as many inputs as its width."""

WHOLE: list[Callable[[str], None]] = [
    test_training.test_chunks_carry_the_state_and_its_gradient,
    test_training.test_inputs_in_any_layout,
    test_training.test_a_retained_graph_gives_the_same_gradients,
    test_training.test_outputs_are_the_same_without_gradients,
    test_training.test_a_sequence_does_not_depend_on_its_batch,
    test_training.test_inputs_and_outputs_are_not_modified,
]
"""Tests of training kernels that hold for any recurrent layer with a state of one tensor (B, H)."""


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_outputs_and_gradients_equal_the_equations(spec: str, sizes: tuple[int, int, int, int]) -> None:
    batch, steps, inputs, width = sizes
    test_training.compare(spec, batch, steps, width if spec.startswith("lru") else inputs, width, seed=0)


@pytest.mark.parametrize("spec", SPECS)
def test_two_threads_equal_the_equations(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arch.kernels.runtime.threads.MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    test_training.compare(spec, batch=21, steps=4, inputs=18, width=18, seed=0)


@pytest.mark.parametrize("check", WHOLE)
@pytest.mark.parametrize("spec", [*MINIMAL, *INDEPENDENT])
def test_properties_of_training(check: Callable[[str], None], spec: str) -> None:
    check(spec)


def test_outputs_and_gradients_without_a_convolution_equal_the_equations() -> None:
    torch.manual_seed(0)
    layer, x_BTD = arch.get("rg_lru").layer(3, 18, conv=0), torch.randn(9, 5, 3, requires_grad=True)
    found = {}
    for backend in ("fused", "reference"):
        layer.backend = backend  # type: ignore[assignment]
        outputs_BTH, state = layer.scan(x_BTD, layer.init_state(9))
        assert state.inputs_BKH is None
        gradients = torch.autograd.grad(outputs_BTH.square().sum(), [x_BTD, *layer.parameters()])
        found[backend] = [outputs_BTH.detach(), state.h_BH.detach(), *gradients]
    assert_same(found["fused"], found["reference"])


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_huge_sums_stay_finite(backend: Any) -> None:
    for spec in ("min_gru", "min_lstm", "rg_lru"):
        for huge in (1e4, -1e4):
            layer = arch.get(spec).layer(2, 20, backend=backend)
            x_BTD = torch.full((3, 4, 2), huge, requires_grad=True)
            outputs_BTH = layer(x_BTD)
            gradients = torch.autograd.grad(outputs_BTH.sum(), [x_BTD, *layer.parameters()])
            assert all(found.isfinite().all() for found in (outputs_BTH, *gradients)), spec


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 7, 17), (2, 12, 32)], ids=str)
def test_the_recurrence_equals_its_reference(sizes: tuple[int, int, int]) -> None:
    B, T, H = sizes
    generator = torch.Generator().manual_seed(0)
    a_BTH, b_BTH, sees_BTH = (torch.randn(B, T, H, generator=generator) for _ in range(3))
    inputs = [a_BTH.requires_grad_(), b_BTH.requires_grad_(), torch.randn(B, H, generator=generator).requires_grad_()]
    found = {}
    for backend in ("fused", "reference"):
        h_BTH = diagonal.scan(*inputs, backend=backend)  # type: ignore[arg-type]
        found[backend] = [h_BTH.detach(), *torch.autograd.grad(h_BTH, inputs, sees_BTH)]
    assert_same(found["fused"], found["reference"])
    h_BH, expected = inputs[2].detach().clone(), []
    for t in range(T):
        h_BH = a_BTH[:, t] * h_BH + b_BTH[:, t]
        expected.append(h_BH)
    assert_same([found["reference"][0]], [torch.stack(expected, 1).detach()])


def test_the_recurrence_refuses_tensors_that_the_kernel_cannot_read() -> None:
    a_BTH = torch.rand(2, 3, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"backend=fused cannot run here: .*float64.*; use backend=auto"):
        diagonal.scan(a_BTH, a_BTH, a_BTH[:, 0], backend="fused")
    expected = diagonal.scan(a_BTH, a_BTH, a_BTH[:, 0], backend="reference")
    torch.testing.assert_close(diagonal.scan(a_BTH, a_BTH, a_BTH[:, 0]), expected)


@pytest.mark.parametrize("spec", ["min_gru", "lru", "rg_lru"])
def test_second_derivatives_use_the_equations(spec: str) -> None:
    torch.manual_seed(0)
    layer, x_BTD = arch.get(spec).layer(6, 6), torch.randn(2, 5, 6, requires_grad=True)
    found = {}
    for backend in ("fused", "reference"):
        layer.backend = backend  # type: ignore[assignment]
        (gradient_BTD,) = torch.autograd.grad(layer(x_BTD).square().sum(), x_BTD, create_graph=True)
        found[backend] = [*torch.autograd.grad(gradient_BTD.square().sum(), [x_BTD, *layer.parameters()])]
    assert_same(found["fused"], found["reference"])


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["min_gru", "min_gru:signed=True", "min_lstm", "rg_lru", "lru", "ind_rnn"])
def test_long_sequences_have_finite_gradients(spec: str) -> None:
    """Check a scan over 65,536 steps against steps in float64, and its gradients against those of the equations."""
    torch.manual_seed(0)
    layer = arch.get(spec).layer(4, 4)
    x_BTD = torch.randn(1, 65_536, 4, requires_grad=True)
    outputs_BTH = layer(x_BTD)
    gradients = torch.autograd.grad(outputs_BTH.mean(), [x_BTD, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    with torch.no_grad():
        expected_BTH = layer.double()(x_BTD.double())
    scale = expected_BTH.abs().max()
    assert (outputs_BTH.double() - expected_BTH).abs().max() < 1e-3 * scale


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("width", [5, 20, 33])
@pytest.mark.parametrize(
    "spec", [*SPECS, "rg_lru:conv=0", "min_gru:block=bare,conv=0", "lru:block=bare", "rg_lru:block=bare"]
)
def test_compiled_steps_and_streams_equal_the_equations(spec: str, width: int, batch: int) -> None:
    model, x = test_streaming.model_of(spec, width), test_streaming.inputs(batch)
    expected = test_streaming.by_equations(model, x)
    test_streaming.assert_close(test_streaming.compiled(model, x)[0], expected)
    test_streaming.assert_close(test_stream.compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize("spec", SPECS)
def test_steps_continue_a_scan_and_changed_weights_take_effect(spec: str) -> None:
    test_streaming.test_steps_continue_a_scan_and_a_scan_continues_steps(spec)
    test_streaming.test_streams_and_copies_share_no_memory(spec)
    test_streaming.test_changed_weights_take_effect(spec, "edited through .data")


def test_sine_and_cosine_of_the_compiled_step() -> None:
    x_N = np.linspace(-100, 100, 160_000).astype(np.float32)
    exact_N = x_N.astype(np.float64)
    for index, function in enumerate((np.cos, np.sin)):
        found_N = test_training.applied(_part(index), x_N)
        assert np.abs(found_N - function(exact_N)).max() < 1e-6


def _part(index: int) -> Any:
    import numba

    @numba.njit
    def part(x):  # type: ignore[no-untyped-def]
        return lru_step.cosine_and_sine(x)[index]

    return part


def test_states_of_other_shapes_are_refused() -> None:
    model = test_streaming.model_of("rg_lru", 8)
    h_BH, inputs_BKH = model.layers[0].init_state(2)
    x = test_streaming.inputs(2)[:, 0]
    wrong: list[Tensor] = [inputs_BKH[:, :2], inputs_BKH.double(), inputs_BKH[..., :3]]
    with torch.inference_mode():
        for part in wrong:
            state = [type(model.layers[0].init_state(2))(h_BH, part), model.init_state(2)[1]]
            assert model._stepper.step(model, x, state) is None


@pytest.mark.parametrize("share", [(0, 9), (3, 5)], ids=str)
@pytest.mark.parametrize("H", [1, 18, 32])
@pytest.mark.parametrize("cell", range(6))
def test_kernels_equal_their_plain_reference(cell: int, H: int, share: tuple[int, int]) -> None:
    T, B, draw = 5, 9, test_reference.random(0)
    blocks = {kernel.MIN_GRU: 2, kernel.MIN_GRU_SIGNED: 3, kernel.MIN_LSTM: 3}
    has_values = cell == kernel.PLAIN
    weights = int(cell in (kernel.IND_RNN_TANH, kernel.IND_RNN_RELU))
    weights_WH = -draw(weights, H).abs()
    values_TBH = draw(T, B, H) if has_values else draw(0, H)
    common = {"projected": draw(T, B, blocks.get(cell, 1) * H), "values": values_TBH, "weights": weights_WH}
    common |= {"h_0": draw(B, H), "outputs": draw(T, B, H), "cell": cell, "T": T, "B": B, "H": H}
    forward = kernel.Forward(**common)  # type: ignore[arg-type]
    test_reference.agree(kernel.forward_rows, plain.forward, forward, share, "outputs")
    plain.forward(forward, 0, B)  # the derivatives are those at the outputs
    backward = kernel.Backward(
        **common,  # type: ignore[arg-type]
        d_outputs=draw(T, B, H),
        d_h=draw(B, H),
        d_projected=torch.zeros(T, B, blocks.get(cell, 1) * H),
        d_values=torch.zeros_like(values_TBH),
        sums=draw(weights, panels_of(H) * LANES),
    )
    written = "d_projected d_h" + " d_values" * has_values + " sums" * (weights > 0)
    test_reference.agree(kernel.backward_rows, plain.backward, backward, share, written)
