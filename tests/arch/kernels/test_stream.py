"""Streams that run many steps in one call: outputs, clock readings, and the memory that a step needs."""

# Shape suffixes: B batch, T time, R clock readings

from __future__ import annotations

import pytest
import torch

import arch
from arch import SequenceModel
from arch.kernels import loop_clock_seconds
from tests.arch.kernels.test_streaming import SPECS, assert_close, by_equations, compiled, inputs, model_of


def zeros(readings: int) -> torch.Tensor:
    return torch.zeros(readings + 1, dtype=torch.int64)


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
    for steps, slots in ((300, 512), (3, 4)):  # the scores of one head need a number per slot of the cache
        assert workspace(model, 1, steps) == 4 * (2 * 16 + (5 * 16 + 4 * 16) + slots + 16 // 2)


def test_interpreted_steps_have_no_workspace() -> None:
    assert workspace(model_of("lstm:backend=reference"), 1) is None
    model = model_of("lstm")
    assert model.workspace_bytes_for(inputs(1)[:, 0], model.init_state(1)) is None  # gradients are enabled


def test_weights_count_parameters_and_buffers_once() -> None:
    model = model_of("transformer:positions=sinusoidal", 8)
    model.register_buffer("extra", torch.zeros(3, dtype=torch.float64))
    model.shared = model.readout  # type: ignore[assignment]
    assert model.weight_bytes == 4 * arch.parameter_count(model) + 8 * 3
