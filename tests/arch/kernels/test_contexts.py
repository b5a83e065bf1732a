"""Kernels under other defaults of torch, with empty batches, and in the contexts of autograd."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from tests.arch.kernels.agreement import (
    CHANNELS,
    NAMES,
    OUTPUTS,
    STEPS,
    WIDTH,
    assert_same,
    by_equations,
    gradients,
    inputs,
    model_of,
    outcome,
    steps,
)


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


@pytest.mark.parametrize("name", [*NAMES, "transformer:positions=alibi"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_in_the_backward_pass_alone(name: str, dtype: torch.dtype) -> None:
    model, x = model_of(name), inputs(16, 20)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    loss = model(x).square().sum()
    with torch.autocast("cpu", dtype=dtype):
        actual = torch.autograd.grad(loss, list(model.parameters()))
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=0.02 * float(other.abs().max()) + 1e-3)


def test_outputs_of_a_block_may_be_changed_in_place() -> None:
    model, x = model_of("transformer"), inputs().requires_grad_()
    expected = torch.autograd.grad((2 * model(x)).square().sum(), x)[0]
    assert_same(torch.autograd.grad(model(x).mul_(2).square().sum(), x)[0], expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 5, 3)])
def test_inputs_of_another_dimension(name: str, shape: tuple[int, ...]) -> None:
    model, x = model_of(name), torch.ones(shape)
    with by_equations(model):
        expected = outcome(lambda: model.scan(x, model.init_state(2))[0])
    assert_same(outcome(lambda: model.scan(x, model.init_state(2))[0]), expected)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's attention has no batching rule yet
@pytest.mark.parametrize("name", [*NAMES, "transformer:window=2,positions=alibi", "gru:block=residual,conv=4"])
def test_vectorised_steps_streams_and_scans(name: str) -> None:
    model, x = model_of(name), torch.stack([inputs(1), -inputs(1)])

    def by_step(x: Tensor) -> Tensor:
        state, outputs = model.init_state(len(x)), []
        for x_BD in x.unbind(1):
            y_BO, state = model.step(x_BD, state)
            outputs.append(y_BO)
        return torch.stack(outputs, 1)

    with torch.no_grad():
        expected = torch.stack([model(one) for one in x])
        for run in (by_step, lambda x: model.stream(x, model.init_state(len(x)))[0], model):
            assert_same(torch.func.vmap(run)(x), expected)
