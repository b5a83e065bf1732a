"""What a compiled stream records of its inputs, and the memory of the state that it leaves."""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from arch.core.compiled import guards, program
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import VOCABULARY, assert_close, by_equations, compiled, inputs, model_of


def owned(part: Tensor) -> Tensor:
    """Return a copy with the strides of a new tensor. Other copies keep the stride of a dimension of size 1."""
    return part.clone(memory_format=torch.contiguous_format)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels", [None, 1, 4], ids=["tokens", "one channel", "channels"])
@pytest.mark.parametrize("by_torch", [True, False], ids=["torch compares", "Python compares"])
def test_inputs_may_be_part_of_any_tensor(
    batch: int, channels: int | None, by_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []

    class CountedGuard(guards.TensorGuard):
        def __init__(self, tensors: Any) -> None:
            recorded.append(len(tensors))
            super().__init__(tensors)

    if not by_torch:
        monkeypatch.setattr(guards, "_TensorGuards", None)
    monkeypatch.setattr(program, "TensorGuard", CountedGuard)
    reads = {"vocabulary": VOCABULARY} if channels is None else {"channels": channels}
    model = arch.build("gru", outputs=2, width=16, seed=0, **reads).eval()
    x = inputs(batch, channels is None, steps=40)
    x = x if channels is None else x[:, :, :1].expand(-1, -1, channels).clone()
    parts = [x[:, start:end] for start, end in ((0, 4), (4, 9), (9, 10), (10, 12), (12, 30))]
    parts = [owned(part) if index % 2 else part for index, part in enumerate(parts)]
    found, state = [], model.init_state(batch)
    with torch.no_grad():
        for part in parts:
            y_BTO, state = model.stream(part, state)
            found.append(y_BTO)
            if part is parts[0]:
                assert recorded
                recorded.clear()
        for t in range(30, 40):
            y_BO, state = model.step(x[:, t] if t % 2 else owned(x[:, t]), state)
            found.append(y_BO.unsqueeze(1))
    assert not recorded, "an input was recorded anew"
    assert_close(torch.cat(found, 1), by_equations(model, x))


WINDOWED = [
    "transformer:heads=2,window=5",
    "transformer:heads=2,window=1",
    "transformer:heads=2,window=16,positions=alibi",
    "transformer:heads=1,window=4,positions=learned",
    "transformer:heads=2,window=6,conv=4",
]
"""Layers that read a bounded part of the past."""


@pytest.mark.parametrize("spec", WINDOWED)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_memory_of_a_window_does_not_grow_with_the_stream(spec: str, batch: int) -> None:
    model, x = model_of(spec), inputs(batch, steps=600)
    steps = x.unbind(1)
    with torch.inference_mode():
        called = model.init_state(batch)
        for x_BD in steps[:64]:
            _, called = model.step(x_BD, called)
        _, state = model.stream(x[:, :500], model.init_state(batch))
        assert arch.state_bytes(state) <= arch.state_bytes(called)
        for x_BD in steps[500:]:
            _, state = model.step(x_BD, state)
            assert arch.state_bytes(state) <= arch.state_bytes(called)


@pytest.mark.parametrize("spec", WINDOWED)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_window_gives_the_outputs_of_the_equations_in_any_chunks(spec: str, batch: int) -> None:
    model, x = model_of(spec), inputs(batch, steps=150)
    expected = by_equations(model, x)
    assert_close(compiled_stream(model, x)[0], expected)
    assert_close(compiled(model, x)[0], expected)
    for first in (1, 3, 7, 31):
        with torch.inference_mode():
            y_BTO, state = model.scan(x[:, :first], model.init_state(batch))
        found, start = [y_BTO], first
        for steps in (1, 2, 9, 1, 40, 3, 1, 17):
            run = compiled if steps == 3 else compiled_stream
            y_BTO, state = run(model, x[:, start : start + steps], state)
            found.append(y_BTO)
            start += steps
        with torch.inference_mode():
            found.append(model.scan(x[:, start:], state)[0])
        assert_close(torch.cat(found, 1), expected)
