"""What a compiled stream records of its inputs, and the memory of the state that it leaves."""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from arch.core.compiled import guards, program
from tests.arch.kernels.test_streaming import VOCABULARY, assert_close, by_equations, inputs


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
