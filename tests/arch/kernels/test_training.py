"""Compare the training kernels with the equations: outputs, gradients, threads, edge cases."""

# Shape suffixes: B batch, T time, D input width, H hidden width, N numbers

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import arch
from arch import RecurrentLayer, State
from arch.kernels.runtime import jit
from arch.kernels.runtime import threads as _threads
from arch.kernels.simd import activation
from arch.kernels.simd.vector import LANES, load, store
from arch.kernels.training import chunked
from tests.arch.fused import SPECS, assert_same, layer_of

SIZES = [(1, 1, 1, 1), (1, 2, 3, 16), (2, 1, 4, 5), (3, 7, 1, 17), (8, 5, 4, 48), (9, 6, 2, 34), (33, 4, 3, 65)]
"""Batch, steps, inputs and width. Some sizes fill whole tiles or vectors, others are slightly smaller or larger."""


def random_state(layer: RecurrentLayer, batch: int, generator: torch.Generator) -> State:
    empty = layer.init_state(batch)
    return type(empty)(*(torch.randn(part.shape, generator=generator, requires_grad=True) for part in empty))


def results(layer: RecurrentLayer, backend: str, x_BTD: Tensor, state: State, sees: list[Tensor]) -> list[Tensor]:
    """Return outputs, final state, and the gradients of a weighted sum of outputs and final state.

    The gradients are those of the input, the initial state and the parameters.

    Args:
        layer: The recurrent layer. Its backend is changed.
        backend: `fused` or `reference`.
        x_BTD: The input.
        state: The initial state, of tensors (B, H).
        sees: Weights of the sum: (B, T, H) for the outputs, then (B, H) for each tensor of the final state.
    """
    layer.backend = backend  # type: ignore[assignment]
    output_BTH, final = layer.scan(x_BTD, state)
    found = [output_BTH, *final]
    by = [x_BTD, *state, *layer.parameters()]
    gradients = torch.autograd.grad(found, by, sees[: len(found)])
    return [tensor.detach() for tensor in (*found, *gradients)]


def compare(spec: str, batch: int, steps: int, inputs: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    layer = layer_of(spec, inputs, width)
    x_BTD = torch.randn(batch, steps, inputs, generator=generator, requires_grad=True)
    state = random_state(layer, batch, generator)
    sees = [torch.randn(batch, steps, width, generator=generator)]
    sees += [torch.randn(part.shape, generator=generator) for part in state]
    assert layer.backend_for(x_BTD, state) == "fused"
    assert_same(results(layer, "fused", x_BTD, state, sees), results(layer, "reference", x_BTD, state, sees))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_outputs_and_gradients_equal_the_equations(spec: str, sizes: tuple[int, int, int, int]) -> None:
    compare(spec, *sizes, seed=0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    spec=st.sampled_from(SPECS),
    batch=st.integers(1, 40),
    steps=st.integers(1, 12),
    inputs=st.integers(1, 8),
    width=st.integers(1, 70),
    seed=st.integers(0, 2**31),
)
def test_random_sizes(spec: str, batch: int, steps: int, inputs: int, width: int, seed: int) -> None:
    compare(spec, batch, steps, inputs, width, seed)


@pytest.mark.parametrize("spec", ["gru", "lstm"])
def test_non_temporal_stores(spec: str) -> None:
    batch, steps, width = 64, 40, 64
    assert batch * steps * 4 * width > chunked.L2_FLOATS and width % LANES == 0
    compare(spec, batch, steps, 3, width, seed=0)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("which", ["output", "last step", "final state"])
def test_gradients_flow_from_each_result_alone(spec: str, which: str) -> None:
    torch.manual_seed(0)
    layer, x_BTD = layer_of(spec, 3, 20), torch.randn(5, 6, 3)
    found = {}
    for backend in ("fused", "reference"):
        layer.backend = backend
        output_BTH, final = layer.scan(x_BTD, layer.init_state(5))
        total = {"output": output_BTH, "last step": output_BTH[:, -1], "final state": final[-1]}[which]
        parameters = [parameter for name, parameter in layer.named_parameters()]
        found[backend] = list(torch.autograd.grad(total.square().sum(), parameters))
    assert_same(found["fused"], found["reference"])


@pytest.mark.parametrize("spec", SPECS)
def test_chunks_carry_the_state_and_its_gradient(spec: str) -> None:
    torch.manual_seed(1)
    layer, x_BTD = layer_of(spec, 3, 19), torch.randn(4, 11, 3)
    found = []
    for sizes in ([11], [1, 2, 8], [5, 6]):
        state, outputs = layer.init_state(4), []
        for chunk_BTD in x_BTD.split(sizes, 1):
            output_BTH, state = layer.scan(chunk_BTD, state)
            outputs.append(output_BTH)
        total = torch.cat(outputs, 1)
        gradients = torch.autograd.grad(total.square().sum() + state[-1].sum(), list(layer.parameters()))
        found.append([total.detach(), *(part.detach() for part in state), *gradients])
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


@pytest.mark.parametrize("spec", SPECS)
def test_inputs_in_any_layout(spec: str) -> None:
    torch.manual_seed(2)
    layer = layer_of(spec, 4, 18)
    wide_TDB = torch.randn(6, 8, 7)
    views = [wide_TDB.permute(2, 0, 1)[:, :, ::2], torch.randn(7, 1, 4).expand(7, 6, 4), torch.randn(7, 12, 4)[:, ::2]]
    part = torch.randn(18, 7).T
    for x_BTD in views:
        assert not x_BTD.is_contiguous()
        empty = layer.init_state(7)
        state = type(empty)(*(part.clone(memory_format=torch.preserve_format) for _ in empty))
        sees = [torch.randn(6, 7, 18).transpose(0, 1)] + [torch.randn(18, 7).T for _ in state]
        x_BTD = x_BTD.detach().requires_grad_()
        state = type(empty)(*(tensor.detach().requires_grad_() for tensor in state))
        assert_same(results(layer, "fused", x_BTD, state, sees), results(layer, "reference", x_BTD, state, sees))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_repeated_calls_are_bit_identical(spec: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(3)
    layer = layer_of(spec, 3, 37)
    x_BTD = torch.randn(13, 9, 3, generator=generator, requires_grad=True)
    state = random_state(layer, 13, generator)
    sees = [torch.randn(13, 9, 37, generator=generator)] + [torch.randn(13, 37, generator=generator) for _ in state]
    first, second = (results(layer, "fused", x_BTD, state, sees) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_a_retained_graph_gives_the_same_gradients(spec: str) -> None:
    layer, x_BTD = layer_of(spec, 3, 20), torch.randn(5, 6, 3, requires_grad=True)
    total = layer(x_BTD).square().sum()
    first, second = (torch.autograd.grad(total, [x_BTD, *layer.parameters()], retain_graph=True) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_results_do_not_depend_on_the_number_of_threads(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check for bit-identical outputs on 1, 2 and 3 threads, which split the rows differently."""
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    layer = layer_of(spec, 3, 37)
    shares: list[tuple[int, int]] = []

    def noted(run: Callable[[int, int], object], first: int, last: int, flushes: bool) -> None:
        shares.append((first, last))
        run(first, last)

    monkeypatch.setattr(_threads, "_run", noted)
    found = []
    with torch.no_grad():
        x_TBD = torch.randn(5, 45, 3)
        for threads in (1, 2, 3):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            found.append(layer.fuse(x_TBD, layer.init_state(45))[0])
    assert sorted(shares) == [(16, 32), (24, 45), (32, 45)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("spec", SPECS)
def test_two_threads_equal_the_equations(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    compare(spec, batch=21, steps=4, inputs=3, width=18, seed=0)


def test_pool_threads_flush_denormals_as_their_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    seen = []
    try:
        for flushes in (True, False):
            torch.set_flush_denormal(flushes)
            _threads.split_rows(2, 1 << 30, lambda first, last: seen.append(_threads.flushes_denormals()), 1)
    finally:
        torch.set_flush_denormal(False)
    assert seen == [True, True, False, False]


@pytest.mark.parametrize("spec", SPECS)
def test_a_sequence_does_not_depend_on_its_batch(spec: str) -> None:
    layer = layer_of(spec, 3, 37)
    x_TBD = torch.randn(5, 13, 3)
    with torch.no_grad():
        together_TBH, _ = layer.fuse(x_TBD, layer.init_state(13))
        alone_TBH, _ = layer.fuse(x_TBD[:, 12:].contiguous(), layer.init_state(1))
    assert torch.equal(together_TBH[:, 12:], alone_TBH)


@pytest.mark.parametrize("spec", SPECS)
def test_outputs_are_the_same_without_gradients(spec: str) -> None:
    layer, x_BTD = layer_of(spec, 3, 21), torch.randn(6, 8, 3)
    with_gradients = layer(x_BTD).detach()
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            output_BTH = layer(x_BTD)
        assert torch.equal(output_BTH, with_gradients) and not output_BTH.requires_grad


@pytest.mark.parametrize("spec", SPECS)
def test_inputs_and_outputs_are_not_modified(spec: str) -> None:
    layer, x_BTD = layer_of(spec, 3, 21), torch.randn(6, 8, 3)
    state = random_state(layer, 6, torch.Generator().manual_seed(0))
    kept = arch.copy_state(state)
    output_BTH, final = layer.scan(x_BTD, state)
    before_BTH = output_BTH.detach().clone()
    (output_BTH.sum() + final[-1].sum()).backward()
    assert all(torch.equal(one, other) for one, other in zip(state, kept, strict=True))
    assert torch.equal(output_BTH, before_BTH)
    assert arch.state_bytes(final) == arch.state_bytes(layer.init_state(6)), "the state shares the output's memory"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_propagate(spec: str, bad: float) -> None:
    layer, x_BTD = layer_of(spec, 2, 20), torch.randn(5, 6, 2)
    x_BTD[3, 2, 1] = bad
    x_BTD.requires_grad_()
    found = {}
    for backend in ("fused", "reference"):
        layer.backend = backend
        output_BTH = layer(x_BTD)
        gradients = torch.autograd.grad(output_BTH.sum(), [x_BTD, *layer.parameters()])
        found[backend] = [output_BTH.isnan(), *(tensor.isfinite() for tensor in (output_BTH, *gradients))]
    assert all(torch.equal(one, other) for one, other in zip(*found.values(), strict=True))
    nan_BTH, finite_BTH, _, finite_W = found["fused"][:4]
    assert not finite_W[:, 1].any(), "a weight that met it must not train on"
    assert nan_BTH[3, 2:].all() or bad == bad
    assert finite_BTH[[0, 1, 2, 4]].all(), "rows of the batch touch"


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "relu" not in spec])
@pytest.mark.parametrize("huge", [1e4, 1e30, -1e4, -1e30])
def test_huge_pre_activations_saturate(spec: str, huge: float) -> None:
    layer, x_BTD = layer_of(spec, 2, 20), torch.full((3, 4, 2), huge, requires_grad=True)
    output_BTH = layer(x_BTD)
    assert output_BTH.isfinite().all() and (output_BTH.abs() <= 1).all()
    (gradient_BTD,) = torch.autograd.grad(output_BTH.sum(), x_BTD)
    assert gradient_BTD.isfinite().all()


def applied(function: Any, x_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the results of a compiled vector function for each number of an array."""

    @numba.njit
    def loop(x_N, y_N):  # type: ignore[no-untyped-def]
        for at in range(0, len(x_N), LANES):
            store(y_N, at, function(load(x_N, at)))

    padded_N = np.zeros(-(-len(x_N) // LANES) * LANES, np.float32)
    padded_N[: len(x_N)] = x_N
    y_N = np.empty_like(padded_N)
    loop(padded_N, y_N)
    return y_N[: len(x_N)]


EXACT: dict[str, Callable[[Any], Any]] = {"sigmoid": lambda x_N: 1 / (1 + np.exp(-x_N)), "tanh": np.tanh}


@pytest.mark.parametrize("name", EXACT)
def test_stated_error_of_sigmoid_and_tanh(name: str) -> None:
    small_N = np.geomspace(1e-30, 1, 20_000)
    x_N = np.concatenate([np.linspace(-85, 85, 400_000), np.linspace(-2, 2, 100_000), small_N, -small_N])
    x_N = x_N.astype(np.float32)
    exact_N = EXACT[name](x_N.astype(np.float64))
    error_N = np.abs(applied(getattr(activation, name), x_N) - exact_N) / np.abs(exact_N)
    assert error_N.max() <= activation.MAX_ERROR
    assert error_N.max() > activation.MAX_ERROR / 4, "the stated error is far too wide"


def test_stated_error_of_gelu() -> None:
    slope = numba.njit(lambda x: activation.gelu_and_slope(x)[1])
    x_N = torch.linspace(-12, 12, 300_003)
    exact_N = x_N.double().requires_grad_()
    expected_N = torch.nn.functional.gelu(exact_N)
    (expected_slope_N,) = torch.autograd.grad(expected_N.sum(), exact_N)
    for function, expected in ((activation.gelu, expected_N), (slope, expected_slope_N)):
        found_N = torch.from_numpy(applied(function, x_N.numpy())).double()
        error_N = (found_N - expected.detach()).abs() / exact_N.detach().abs().clamp(min=1)
        assert activation.GELU_MAX_ERROR / 8 < error_N.max() <= activation.GELU_MAX_ERROR


def test_gelu_of_nan_and_infinity() -> None:
    found_N = applied(activation.gelu, np.array([np.nan, np.inf, 1e30, -1e30], np.float32))
    np.testing.assert_allclose(found_N, [np.nan, np.inf, 1e30, 0.0], atol=activation.GELU_MAX_ERROR)


def test_sigmoid_and_tanh_at_extreme_inputs() -> None:
    x_N = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -0.0], np.float32)
    sigmoid_N, tanh_N = (applied(function, x_N) for function in (activation.sigmoid, activation.tanh))
    assert np.isnan(sigmoid_N[0]) and np.isnan(tanh_N[0])
    assert sigmoid_N[1] == sigmoid_N[3] == 1 and (np.abs(sigmoid_N[[2, 4]]) < 1e-37).all()
    assert (sigmoid_N[5:] == 0.5).all()
    assert tanh_N[1:].tolist() == [1, -1, 1, -1, 0, 0]


@pytest.fixture
def flush_restored() -> Iterator[None]:
    yield
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("flush_restored")
def test_denormals_are_flushed_with_the_thread() -> None:
    """Check that compiled code flushes denormals if and only if its thread does.

    The test compares bits, because a flushing thread treats a denormal as equal to 0.
    """
    denormal_N = np.full(LANES, 1000, np.uint32).view(np.float32)

    @numba.njit
    def doubled(x):  # type: ignore[no-untyped-def]
        return x + x

    kept = applied(doubled, denormal_N).view(np.uint32)
    torch.set_flush_denormal(True)
    flushed = applied(doubled, denormal_N).view(np.uint32)
    assert (kept == 2000).all() and (flushed == 0).all()


@pytest.mark.slow
def test_numba_is_imported_with_the_first_kernel_only() -> None:
    script = """
import sys, torch, arch
model = arch.build("lstm", channels=1, outputs=1, width=4)
model.step(torch.zeros(1, 1), model.init_state(1))
assert "numba" not in sys.modules
model(torch.zeros(1, 2, 1))
assert "numba" in sys.modules and "arch.kernels.training.lstm" in sys.modules
arch.compile_kernels(["lstm:bias=False", "unknown", "transformer:heads=3"])
assert "arch.kernels.streaming.model_step" in sys.modules and "arch.kernels.training.attention" in sys.modules
assert "arch.kernels.training.gru" not in sys.modules
arch.kernels.compile_all()
assert {"arch.kernels.training.rnn", "arch.kernels.training.gru"} <= set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(arch.__file__).parents[1])


def test_any_changed_kernel_file_invalidates_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "SOURCES_DIGEST", 1)
    one = jit.with_digest(applied)
    monkeypatch.setattr(jit, "SOURCES_DIGEST", 2)
    other = jit.with_digest(applied)
    assert [cell.cell_contents for cell in one.__closure__ or ()] == [1]
    assert [cell.cell_contents for cell in other.__closure__ or ()] == [2]


@pytest.mark.parametrize(("forget", "write"), [(-86, -82), (-100, -120), (-120, -100), (-200, 200), (90, 85)])
def test_gates_of_min_lstm_far_from_zero_keep_their_ratio(forget: float, write: float) -> None:
    model = arch.build("min_lstm:block=bare,conv=0", channels=1, outputs=1, width=8, depth=1, seed=0)
    layer = model.layers[0]
    with torch.no_grad():
        layer.W_GD.zero_()  # type: ignore[operator, union-attr]
        layer.b_G.copy_(torch.cat([torch.tensor([forget, write]).repeat_interleave(8), torch.linspace(-1, 2, 8)]))  # type: ignore[operator, union-attr]
        streamed = model.stream(torch.zeros(4, 16, 1), model.init_state(4))[0]
    found = []
    for dtype, backend in ((torch.float32, "fused"), (torch.float64, "reference")):
        layer.to(dtype).backend = backend  # type: ignore[assignment]
        h_BTH, _ = layer.scan(torch.zeros(4, 16, 1, dtype=dtype), layer.init_state(4))  # type: ignore[operator]
        (gradient,) = torch.autograd.grad(h_BTH.square().sum(), [layer.b_G])  # type: ignore[list-item]
        found.append((h_BTH.detach().double(), gradient.double()))
    for ours, exact in zip(*found, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-5 * max(1.0, float(exact.abs().max())))
    expected = torch.nn.functional.linear(found[1][0].float(), model.readout.weight, model.readout.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(streamed, expected.detach(), rtol=1e-4, atol=1e-5)
