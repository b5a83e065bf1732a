"""Compare compiled blocks around layers with their equations: streams, steps, gradients, and changes that must show."""

# Shape suffixes: B batch, T time

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import arch
from arch import BlockOptions, SequenceModel
from arch.core.block import Block
from arch.core.compiled.program import MIN_PACKED_STEPS
from tests.arch.core.test_compiled_cell import Leaky
from tests.arch.fused import assert_same
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import CHANGES, assert_close, by_equations, compiled, inputs, model_of

SPECS = [
    "rnn:block=residual",
    "lstm:conv=4",
    "lstm:block=residual,conv=4",
    "gru:block=residual,conv=4,expansion=2",
    "gru:reset=before,block=residual,expansion=4",
    "transformer:block=bare",
    "transformer:block=bare,conv=4,positions=alibi",
    "transformer:conv=4,window=3",
    "transformer:conv=4,positions=learned",
    "transformer:expansion=0,positions=sinusoidal",
]
STEPS = MIN_PACKED_STEPS + 5


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("tokens", [False, True], ids=["reals", "tokens"])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_and_streams_equal_the_equations(spec: str, tokens: bool, batch: int) -> None:
    model, x = model_of(spec, tokens=tokens), inputs(batch, tokens, steps=STEPS)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize("spec", ["gru:block=residual,conv=4,expansion=2", "lstm:conv=4"])
@pytest.mark.parametrize("width", [1, 5, 17, 33])
def test_odd_widths(spec: str, width: int) -> None:
    model, x = model_of(spec, width, depth=3), inputs(2)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", SPECS)
def test_scans_steps_and_streams_continue_each_other(spec: str) -> None:
    model, x = model_of(spec), inputs(2, steps=20)
    with torch.inference_mode():
        first, state = model.scan(x[:, :2], model.init_state(2))
        second, state = compiled(model, x[:, 2:8], state)
        third, state = compiled_stream(model, x[:, 8:13], state)
        kept = arch.copy_state(state)
        last, _ = model.scan(x[:, 13:], state)
        again, _ = compiled(model, x[:, 13:], kept)
    expected = by_equations(model, x)
    assert_close(torch.cat([first, second, third, last], 1), expected)
    assert_close(again, expected[:, 13:])


def test_a_compiled_step_changes_no_state_that_was_given() -> None:
    model, x = model_of("gru:block=residual,conv=4"), inputs(1)
    with torch.inference_mode():
        _, state = model.scan(x, model.init_state(1))
        before = arch.copy_state(state)
        compiled(model, x, state)
    for one, other in zip(state, before, strict=True):
        assert torch.equal(one.inputs_BKD, other.inputs_BKD)


def results(model: SequenceModel, backend: str, x: Tensor) -> list[Tensor]:
    """Return the outputs of two chunks, and the gradients of a weighted sum of them."""
    for layer in model.layers:
        layer.backend = backend  # type: ignore[assignment]
    first, state = model.scan(x[:, :5], model.init_state(len(x)))
    second, _ = model.scan(x[:, 5:], state)
    output = torch.cat([first, second], 1)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("width", [8, 36])
def test_gradients_of_the_kernels_equal_those_of_the_equations(spec: str, width: int) -> None:
    model, x = model_of(spec, width), inputs(3, steps=11).requires_grad_()
    assert_same(results(model, "fused", x), results(model, "reference", x))


def test_second_derivatives_use_the_equations() -> None:
    model, found = model_of("gru:block=residual,expansion=2", 12), {}
    x = inputs(2, steps=5).requires_grad_()
    for backend in ("fused", "reference"):
        for layer in model.layers:
            layer.backend = backend  # type: ignore[assignment]
        (slope,) = torch.autograd.grad(model(x).pow(3).sum(), x, create_graph=True)
        found[backend] = [slope.detach(), *torch.autograd.grad(slope.square().sum(), [x])]
    assert_same(found["fused"], found["reference"])


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_take_effect(change: str) -> None:
    model, x = model_of("lstm:block=residual,conv=4,expansion=2"), inputs(2)
    before = compiled(model, x)[0]
    CHANGES[change](model)
    expected = by_equations(model, x)
    assert (expected - before).abs().max() > 1e-3
    assert_close(compiled(model, x)[0], expected)


def _block(model: SequenceModel) -> Any:
    return model.layers[1]


def _of_another_class(model: SequenceModel) -> None:
    class Halved(type(_block(model).layer)):  # type: ignore[misc]
        def update(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, Any]:
            h_BH, state = super().update(projected_BG, state)
            return h_BH / 2, state

    _block(model).layer.__class__ = Halved


REFUSED: dict[str, Callable[[SequenceModel], object]] = {
    "a hook on the norm": lambda model: _block(model).norm.register_forward_hook(lambda *given: given[2] + 1),
    "another norm": lambda model: setattr(_block(model), "norm", nn.RMSNorm(20)),
    "another epsilon": lambda model: setattr(_block(model).mlp_norm, "eps", 0.1),
    "a map without bias": lambda model: setattr(_block(model), "W_2", nn.Linear(40, 20, bias=False)),
    "a subclass inside": _of_another_class,
    "backend=reference inside": lambda model: setattr(_block(model).layer, "backend", "reference"),
    "filters of another size": lambda model: setattr(_block(model), "conv_D", nn.Parameter(torch.ones(1))),
}


@pytest.mark.parametrize("why", REFUSED)
def test_unsupported_blocks_run_the_equations(why: str) -> None:
    model, x = model_of("lstm:block=residual,conv=4,expansion=2"), inputs(2)
    compiled(model, x)
    REFUSED[why](model)
    with torch.inference_mode():
        assert model.step_backend_for(x[:, 0], model.init_state(2)) == "reference"
        assert_close(model.stream(x, model.init_state(2))[0], by_equations(model, x))
        assert_close(model(x), by_equations(model, x))


def test_kernels_that_were_demanded_but_cannot_run_are_an_error() -> None:
    model, x = model_of("lstm:block=residual,expansion=2,backend=fused"), inputs(2)
    _block(model).mlp_norm.eps = 0.1
    with pytest.raises(ValueError, match="backend=fused cannot run here: the kernel needs a LayerNorm"):
        model(x)


def test_a_compiled_cell_runs_in_a_block() -> None:
    torch.manual_seed(0)
    options = BlockOptions(block="residual", conv=4, expansion=2)
    layers: list[Any] = [Block(Leaky(20, 20), 20, options, is_last=i == 1) for i in range(2)]
    model, x = SequenceModel(nn.Linear(3, 20), layers, nn.Linear(20, 2)).eval(), inputs(3)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


def test_the_workspace_has_a_third_array_for_the_residual_stream() -> None:
    model, x = model_of("lstm:block=residual,expansion=2", 20), inputs(3)[:, 0]
    with torch.inference_mode():
        assert model.workspace_bytes_for(x, model.init_state(3)) == 4 * 3 * (3 * 20 + 2 * 20)
    bare = model_of("lstm:conv=4", 20)
    with torch.inference_mode():
        assert bare.workspace_bytes_for(x, bare.init_state(3)) == 4 * 3 * 2 * 20
