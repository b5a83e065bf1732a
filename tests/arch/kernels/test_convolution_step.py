"""Compare the compiled step of the TCN with its equations: sizes, ring buffers, changed weights, refused states."""

# Shape suffixes: B batch, T time

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import arch
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import CHANGES, assert_close, by_equations, compiled, inputs, model_of

SPECS = [
    "tcn",
    "tcn:kernel=2,weight_norm=False",
    "tcn:kernel=3,dilation=3",
    "tcn:kernel=5,dilation=1,block=residual,conv=4,expansion=2",
]
STEPS = 45


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("tokens", [False, True], ids=["reals", "tokens"])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_and_streams_equal_the_equations(spec: str, tokens: bool, batch: int) -> None:
    model, x = model_of(spec, tokens=tokens, depth=3), inputs(batch, tokens, steps=STEPS)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize("width", [1, 3, 16, 17, 33])
def test_odd_widths(width: int) -> None:
    model, x = model_of("tcn:kernel=3", width), inputs(2, steps=20)
    assert_close(compiled(model, x)[0], by_equations(model, x))


def test_scans_steps_and_streams_continue_each_other() -> None:
    model, x = model_of("tcn:kernel=4"), inputs(2, steps=STEPS)
    with torch.inference_mode():
        first, state = model.scan(x[:, :5], model.init_state(2))
        second, state = compiled(model, x[:, 5:12], state)
        third, state = compiled_stream(model, x[:, 12:23], state)
        kept = arch.copy_state(state)
        last, _ = model.scan(x[:, 23:], state)
        again, _ = compiled(model, x[:, 23:], kept)
    expected = by_equations(model, x)
    assert_close(torch.cat([first, second, third, last], 1), expected)
    assert_close(again, expected[:, 23:])


def test_interleaved_streams_keep_their_own_slots() -> None:
    model, x = model_of("tcn:kernel=3"), inputs(2, steps=9)
    states: list[Any] = [model.init_state(1), model.init_state(1)]
    found: list[list[Tensor]] = [[], []]
    with torch.inference_mode():
        for t in range(9):
            for stream in (0, 1) if t % 3 else (0,):
                y_BO, states[stream] = model.step(x[stream : stream + 1, t], states[stream])
                found[stream].append(y_BO)
    expected = by_equations(model, x[:1]), by_equations(model, x[1:, [1, 2, 4, 5, 7, 8]])
    for outputs, own in zip(found, expected, strict=True):
        assert_close(torch.stack(outputs, 1), own)


def test_a_compiled_step_changes_no_state_that_was_given() -> None:
    model, x = model_of("tcn"), inputs(1)
    with torch.inference_mode():
        _, state = model.scan(x, model.init_state(1))
        before = arch.copy_state(state)
        compiled(model, x, state)
    for one, other in zip(state, before, strict=True):
        assert torch.equal(one.x_BND, other.x_BND) and torch.equal(one.u_BNH, other.u_BNH) and one[2] == other[2]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_take_effect(change: str) -> None:
    model, x = model_of("tcn"), inputs(2)
    before = compiled(model, x)[0]
    CHANGES[change](model)
    expected = by_equations(model, x)
    assert (expected - before).abs().max() > 1e-3
    assert_close(compiled(model, x)[0], expected)


@pytest.mark.parametrize("slot", [-1, 12, 1.0, True])
def test_a_slot_outside_the_ring_buffer_runs_the_equations(slot: Any) -> None:
    model, x = model_of("tcn:dilation=1,kernel=13"), inputs(1)[:, 0]
    state = [part._replace(oldest=slot) for part in model.init_state(1)]
    with torch.inference_mode():
        assert model._stepper.step(model, x, state) is None


def test_a_weight_of_another_shape_runs_the_equations() -> None:
    model, x = model_of("tcn"), inputs(1)[:, 0]
    compiled(model, inputs(1))
    model.layers[1].g2_H = nn.Parameter(torch.ones(1))
    with torch.inference_mode():
        assert model.step_backend_for(x, model.init_state(1)) == "reference"
