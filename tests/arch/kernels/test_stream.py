"""Streams that run many steps in one call: outputs, clock readings, and the memory that a step needs."""

# Shape suffixes: B batch, T time, R clock readings

from __future__ import annotations

import copy
import time
from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from arch import SequenceModel
from arch.core.compiled.program import MIN_PACKED_STEPS
from arch.kernels import loop_clock_seconds
from arch.kernels.streaming.attention_step import CHUNK
from tests.arch.kernels.test_streaming import (
    CHANGES,
    SPECS,
    STEPS,
    VOCABULARY,
    assert_close,
    by_equations,
    compiled,
    inputs,
    model_of,
)


def zeros(readings: int) -> torch.Tensor:
    return torch.zeros(readings + 1, dtype=torch.int64)


def compiled_stream(model: SequenceModel, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Return the outputs and the final state of one compiled stream, as `compiled` does for steps."""
    with torch.inference_mode():
        state = model.init_state(len(x)) if state is None else state
        found = model._stepper.stream(model, x.transpose(0, 1), state, None)
    assert found is not None, "the compiled stream did not run"
    return found[0].transpose(0, 1), found[1]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("readings", [None, 12, 4, 1])
def test_streams_equal_the_equations_however_often_the_clock_is_read(spec: str, readings: int | None) -> None:
    model, x = model_of(spec), inputs(2, steps=12)
    times_R = None if readings is None else zeros(readings)
    with torch.inference_mode():
        y_BTO, state = model.stream(x, model.init_state(2), times_R)
        assert_close(y_BTO, by_equations(model, x))
        assert_close(compiled(model, x, state)[0], by_equations(model, torch.cat([x, x], 1))[:, 12:])
    if times_R is not None:
        assert times_R[0] > 0 and (times_R.diff() > 0).all()


def test_equations_read_the_clock_as_often() -> None:
    model, x = model_of("gru:backend=reference"), inputs(1, steps=12)
    times_R = zeros(3)
    y_BTO, _ = model.stream(x, model.init_state(1), times_R)
    assert times_R[0] > 0 and (times_R.diff() > 0).all()
    assert_close(y_BTO, by_equations(model, x))


@pytest.mark.parametrize(("readings", "shown"), [(5, "R is 5"), (24, "R is 24"), (0, "R is 0")])
@pytest.mark.parametrize("spec", ["rnn", "rnn:backend=reference"])
def test_a_reading_after_part_of_a_step_is_refused(spec: str, readings: int, shown: str) -> None:
    model, x = model_of(spec), inputs(1, steps=12)
    with torch.inference_mode(), pytest.raises(ValueError, match=f"R must divide the 12 steps; {shown}"):
        model.stream(x, model.init_state(1), zeros(readings))


def test_reading_the_clock_in_compiled_code_takes_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = loop_clock_seconds()
    assert seconds is not None and seconds > 0
    monkeypatch.setattr("arch.kernels.runtime.native.clock_address", lambda: 0)
    assert loop_clock_seconds() is None


def workspace(model: SequenceModel, batch: int, steps: int = 1) -> int | None:
    with torch.inference_mode():
        _, state = model.scan(inputs(batch, steps=steps), model.init_state(batch))
        return model.workspace_bytes_for(inputs(batch, steps=1)[:, 0], state)


def test_workspace_equals_sizes_computed_by_hand() -> None:
    for batch in (1, 8, 1):  # the answer must not depend on earlier steps
        assert workspace(model_of("lstm", 20), batch) == 4 * batch * 2 * 20
    model = model_of("transformer:heads=2", 16)
    for steps in (300, 3):  # weights of attention are computed in chunks, so the cache's length does not matter
        assert workspace(model, 1, steps) == 4 * (2 * 16 + (5 * 16 + 4 * 16) + CHUNK + 2 * 16 // 2)


def test_interpreted_steps_have_no_workspace() -> None:
    assert workspace(model_of("lstm:backend=reference"), 1) is None
    model = model_of("lstm")
    assert model.workspace_bytes_for(inputs(1)[:, 0], model.init_state(1)) is None  # gradients are enabled


def test_weights_count_parameters_and_buffers_once() -> None:
    model = model_of("transformer:positions=sinusoidal", 8)
    model.register_buffer("extra", torch.zeros(3, dtype=torch.float64))
    model.shared = model.readout  # type: ignore[assignment]
    assert model.weight_bytes == 4 * arch.parameter_count(model) + 8 * 3


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("tokens", [False, True], ids=["reals", "tokens"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_equals_the_equations(spec: str, tokens: bool, batch: int) -> None:
    model, x = model_of(spec, tokens=tokens), inputs(batch, tokens)
    expected = by_equations(model, x)
    outputs, _ = compiled_stream(model, x)
    assert_close(outputs, expected)
    for chunk in (1, 4):
        found, state = [], None
        for start in range(0, STEPS, chunk):
            y, state = compiled_stream(model, x[:, start : start + chunk], state)
            found.append(y)
        assert_close(torch.cat(found, 1), expected)


@pytest.mark.parametrize("spec", SPECS)
def test_a_stream_continues_steps_and_steps_continue_a_stream(spec: str) -> None:
    model, x = model_of(spec), inputs(2, steps=12)
    expected = by_equations(model, x)
    first, state = compiled(model, x[:, :3])
    middle, state = compiled_stream(model, x[:, 3:8], state)
    last, state = compiled(model, x[:, 8:], state)
    assert_close(torch.cat([first, middle, last], 1), expected)
    with torch.inference_mode():
        by_scan = model.scan(x, model.init_state(2))[1]
        more = inputs(2, steps=4)
        assert_close(compiled_stream(model, more, state)[0], model.scan(more, by_scan)[0])


@pytest.mark.parametrize("spec", ["lstm", "transformer", "transformer:positions=learned"])
def test_a_stream_leaves_the_given_state_as_it_was(spec: str) -> None:
    model, x = model_of(spec), inputs(1, steps=6)
    with torch.inference_mode():
        _, state = model.scan(x, model.init_state(1))
        first = compiled_stream(model, x, arch.copy_state(state))[0]
        assert_close(compiled_stream(model, x, arch.copy_state(state))[0], first)


@pytest.mark.parametrize("spec", ["rnn", "transformer"])
@pytest.mark.parametrize("runs_compiled", [True, False])
def test_clock_readings_of_a_stream_never_decrease(spec: str, runs_compiled: bool) -> None:
    model, x = model_of(spec), inputs(1, steps=50)
    times_T = torch.zeros(51, dtype=torch.int64)
    before = time.monotonic_ns()
    with torch.set_grad_enabled(not runs_compiled):
        outputs, _ = model.stream(x, model.init_state(1), times_T)
    assert_close(outputs.detach(), by_equations(model, x))
    readings = [before, *times_T.tolist(), time.monotonic_ns()]
    assert readings == sorted(readings)
    assert len(set(readings)) > 10


@pytest.mark.parametrize(
    ("times_T", "message"),
    [
        (torch.zeros(9, dtype=torch.int64), "R must divide the 9 steps; R is 8"),
        (torch.zeros(1, dtype=torch.int64), "R must divide the 9 steps; R is 0"),
        (torch.zeros(10), "must be a contiguous int64 vector"),
        (torch.zeros(20, dtype=torch.int64)[::2], "must be a contiguous int64 vector"),
        (torch.zeros(2, 5, dtype=torch.int64), "must be a contiguous int64 vector"),
    ],
    ids=["too short", "no reading", "not int64", "not contiguous", "a matrix"],
)
def test_readings_without_room_are_refused(times_T: Tensor, message: str) -> None:
    model = model_of("rnn")
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        model.stream(inputs(1), model.init_state(1), times_T)


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_an_unknown_token_in_a_stream_is_the_error_of_the_equations(token: int) -> None:
    model, x = model_of("lstm", tokens=True), inputs(2, tokens=True)
    x[1, 4] = token
    with torch.no_grad(), pytest.raises(IndexError):
        model.stream(x, model.init_state(2))


def test_a_stream_has_gradients_if_they_are_enabled() -> None:
    model, x = model_of("gru"), inputs(2)
    model.stream(x, model.init_state(2))[0].sum().backward()
    expected = copy.deepcopy(model)
    expected.zero_grad()
    expected(x).sum().backward()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


PACKED_SPECS = [
    "rnn",
    "rnn:nonlinearity=relu,bias=False,init=orthogonal",
    "lstm",
    "lstm:bias=False,forget_bias=1",
    "gru",
    "gru:bias=False",
    "gru:reset=before",
    "gru:reset=before,bias=False",
    "transformer:heads=1",
    "transformer:heads=1,expansion=3,positions=alibi",
    "transformer:heads=1,window=5,positions=learned",
]
"""Layers whose weights a long stream packs."""


@pytest.mark.parametrize("spec", PACKED_SPECS)
@pytest.mark.parametrize("width", [2, 6, 16, 34, 50, 64])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_with_packed_weights_equals_the_equations(spec: str, width: int, batch: int) -> None:
    width += width % 2 == 0 and not spec.startswith("transformer")  # rotary positions need pairs
    model, x = model_of(spec, width), inputs(batch, steps=MIN_PACKED_STEPS + 1)
    outputs, state = compiled_stream(model, x)
    assert_close(outputs, by_equations(model, x))
    more = inputs(batch, steps=3)
    assert_close(compiled(model, more, state)[0], by_equations(model, torch.cat([x, more], 1))[:, -3:])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spec", ["rnn", "lstm", "gru", "gru:reset=before", "transformer"])
def test_packed_weights_that_change_are_packed_again(spec: str, change: str) -> None:
    model, x = model_of(spec), inputs(2, steps=MIN_PACKED_STEPS)
    before = compiled_stream(model, x)[0]
    CHANGES[change](model)
    expected = by_equations(model, x)
    assert (expected - before).abs().max() > 1e-3
    assert_close(compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize(
    ("spec", "name"),
    [("gru", name) for name in ("W_GD", "U_GH", "b_G", "u_H")]
    + [("rnn", name) for name in ("W_HD", "U_HH")]
    + [("gru:reset=before", name) for name in ("W_GD", "U_GH")]
    + [("transformer", f"{module}.weight") for module in ("W_qkv", "W_o", "W_1", "W_2")],
)
@pytest.mark.parametrize("last", [False, True], ids=["first number", "last number"])
def test_one_changed_number_is_noticed(spec: str, name: str, last: bool) -> None:
    model, x = model_of(spec), inputs(2, steps=MIN_PACKED_STEPS)
    before = compiled_stream(model, x)[0]
    dict(model.layers[1].named_parameters())[name].data.flatten()[-1 if last else 0] += 3
    assert (by_equations(model, x) - before).abs().max() > 1e-4
    assert_close(compiled_stream(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", ["rnn", "lstm", "gru:reset=before", "transformer"])
def test_weights_of_nan_give_nan_also_if_they_are_packed(spec: str) -> None:
    model, x = model_of(spec), inputs(1, steps=MIN_PACKED_STEPS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    assert compiled_stream(model, x)[0].isnan().all()


def test_a_stream_that_reads_the_clock_packs_its_weights_however_short_it_is() -> None:
    model, x = model_of("lstm"), inputs(1, steps=MIN_PACKED_STEPS)
    with torch.inference_mode():
        long = model.stream(x, model.init_state(1))[0][:, :3]
        timed = model.stream(x[:, :3], model.init_state(1), torch.zeros(4, dtype=torch.int64))[0]
    assert torch.equal(timed, long)  # the order of the sums shows which weights were read


@pytest.mark.parametrize("spec", ["rnn", "lstm", "transformer"])
def test_long_and_short_streams_alternate(spec: str) -> None:
    model, state, found = model_of(spec), None, []
    x = inputs(2, steps=3 * MIN_PACKED_STEPS)
    for chunk in x.split([MIN_PACKED_STEPS, 2, MIN_PACKED_STEPS + 3, MIN_PACKED_STEPS - 5], 1):
        y, state = compiled_stream(model, chunk, state)
        found.append(y)
    assert_close(torch.cat(found, 1), by_equations(model, x))


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_a_stream_with_an_unknown_token_raises_and_leaves_the_state(token: int) -> None:
    model, x = model_of("gru", tokens=True), inputs(2, True)
    with torch.inference_mode():
        _, state = compiled(model, x[:, :2])
        before = arch.copy_state(state)
        wrong = x[:, 2:].clone()
        wrong[1, -1] = token
        assert model._stepper.stream(model, wrong.transpose(0, 1), state, None) is None
        assert all(torch.equal(one.h_BH, other.h_BH) for one, other in zip(state, before, strict=True))
        with pytest.raises(IndexError):
            model.stream(wrong, state)
        assert_close(model.stream(x[:, 2:], before)[0], by_equations(model, x)[:, 2:])


@pytest.mark.parametrize("spec", SPECS)
def test_a_refused_chunk_leaves_the_state_of_every_layer(spec: str) -> None:
    model, x = model_of(spec, tokens=True), inputs(1, tokens=True, steps=12)
    wrong = x[:, 4:].clone()
    wrong[0, 5] = VOCABULARY
    with torch.inference_mode():
        _, state = model.stream(x[:, :4], model.init_state(1))
        with pytest.raises(IndexError):
            model.stream(wrong, state)
        assert_close(model.stream(x[:, 4:], state)[0], by_equations(model, x)[:, 4:])


def test_a_chunk_beyond_the_learned_positions_leaves_the_state() -> None:
    model, x = model_of("transformer:positions=learned,max_length=20,conv=4,window=3"), inputs(1, steps=24)
    expected = by_equations(model, x[:, :20])
    with torch.inference_mode():
        _, state = model.stream(x[:, :4], model.init_state(1))
        with pytest.raises(ValueError, match="beyond the 20 learned positions"):
            model.stream(x[:, 4:], state)
        assert_close(model.stream(x[:, 4:20], state)[0], expected[:, 4:])


class DoubledModel(SequenceModel):
    """A model with its own step, whose outputs are twice as large."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BO, state = super().step(x, state)
        return 2 * y_BO, state


def replace_in_subclass(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.__class__ = DoubledModel


def replace_in_instance(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    original = model.step
    model.step = lambda x, state: (lambda y_BO, after: (2 * y_BO, after))(*original(x, state))  # type: ignore[method-assign]


def replace_in_class(model: SequenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    original = SequenceModel.step

    def doubled(self: SequenceModel, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BO, state = original(self, x, state)
        return 2 * y_BO, state

    monkeypatch.setattr(SequenceModel, "step", doubled)


@pytest.mark.parametrize("replace", [replace_in_subclass, replace_in_instance, replace_in_class])
def test_a_stream_calls_a_step_that_was_replaced(replace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = model_of("gru"), inputs(2)
    expected = by_equations(model, x)
    assert_close(compiled_stream(model, x)[0], expected)
    replace(model, monkeypatch)
    with torch.inference_mode():
        state = model.init_state(2)
        assert_close(model.stream(x, model.init_state(2))[0], 2 * expected)
        assert model.step_backend_for(x[:, 0], state) == "reference"
        assert model.workspace_bytes_for(x[:, 0], state) is None


def test_readings_in_a_list_are_refused() -> None:
    model = model_of("rnn")
    with torch.no_grad(), pytest.raises(ValueError, match=r"times_T must be an int64 tensor .* not list"):
        model.stream(inputs(1), model.init_state(1), [0] * (STEPS + 1))  # type: ignore[arg-type]
