"""Tests of Adam: it equals torch's optimizers, and nothing that trains imports torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

import arch
from bench.training.adam import Adam, ParameterGroup

FACTORS = (0.5, 1.0, 1.0, 0.25, 0.0)


def parameters(dtype: torch.dtype) -> list[nn.Parameter]:
    """Return three parameters, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=generator, dtype=dtype)) for size in ((3, 4), (5,), (2, 2))]


def set_gradients(given: Sequence[nn.Parameter], step: int, missing: int | None) -> None:
    """Give each parameter the gradient of a step, but none to the parameter with the index `missing`."""
    generator = torch.Generator().manual_seed(step + 1)
    for index, parameter in enumerate(given):
        gradient = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.grad = None if index == missing else gradient


@pytest.mark.parametrize("missing", [None, 1])
@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_adam_equals_torch_bit_by_bit(dtype: torch.dtype, decay: float, missing: int | None) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = Adam([ParameterGroup(ours[:2], 0.1, decay), ParameterGroup(ours[2:], 0.03, 0.0)])
    constructor: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW if decay else torch.optim.Adam
    groups = [
        {"params": theirs[:2], "lr": 0.1, "weight_decay": decay},
        {"params": theirs[2:], "lr": 0.03, "weight_decay": 0.0},
    ]
    expected = constructor(groups, fused=not dtype.is_complex)
    for step, factor in enumerate(FACTORS):
        for group, rate in zip(expected.param_groups, (0.1, 0.03), strict=True):
            group["lr"] = rate * factor
        absent = missing if step == 1 else None
        set_gradients(ours, step, absent)
        set_gradients(theirs, step, absent)
        optimizer.step(factor)
        expected.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), step


def test_gradients_are_removed() -> None:
    given = parameters(torch.float32)
    set_gradients(given, 0, None)
    Adam([ParameterGroup(given, 0.1, 0.0)]).zero_grad()
    assert all(parameter.grad is None for parameter in given)


@pytest.mark.parametrize("names", [["lstm"], pytest.param(arch.names(), marks=pytest.mark.slow, id="all")])
def test_training_does_not_import_the_compiler_of_torch(names: list[str]) -> None:
    """The import takes seconds in each process that trains or times training steps."""
    lines = (
        "import random, sys, arch",
        "from bench.plans.plan import Timing",
        "from bench.probes import latency",
        "from tests.bench.tiny import subject",
        "for name in sys.argv[1:]:",
        "    latency.measure([subject(name)], Timing(blocks=1, block_seconds=1e-4), random.Random(0))",
        "print([name for name in sys.modules if name.startswith('torch._dynamo')])",
    )
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), *names], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
