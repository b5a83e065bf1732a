"""Compare `auto` with `reference`: the same numbers, or the same error.

The tests change a model, its state or torch's settings in legal but unusual ways.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import arch
from arch import SequenceModel

TOLERANCE = 1e-5
"""Tolerance relative to the largest number. The two implementations sum in different orders."""
CHANNELS, WIDTH, OUTPUTS, STEPS, VOCABULARY = 3, 12, 5, 7, 6
NAMES = ["rnn", "lstm", "gru", "gru:reset=before", "transformer"]

Change = Callable[[SequenceModel], object]


def model_of(spec: str, *, tokens: bool = False, seed: int = 0) -> SequenceModel:
    reads: dict[str, int] = {"vocabulary": VOCABULARY} if tokens else {"channels": CHANNELS}
    model = arch.build(spec, outputs=OUTPUTS, width=WIDTH, depth=2, seed=seed, **reads)
    with torch.no_grad():
        for parameter in model.parameters():  # so that no bias is 0 and no gain 1
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model.eval()


def inputs(batch: int = 2, steps: int = STEPS, tokens: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    if tokens:
        return torch.randint(VOCABULARY, (batch, steps), generator=generator)
    return torch.randn(batch, steps, CHANNELS, generator=generator, dtype=torch.float32)


@contextlib.contextmanager
def by_equations(model: SequenceModel) -> Iterator[None]:
    before = [layer.backend for layer in model.layers]
    for layer in model.layers:
        layer.backend = "reference"  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, backend in zip(model.layers, before, strict=True):
            layer.backend = backend


def steps(model: SequenceModel, x: Tensor, state: Any = None) -> Tensor:
    """Return the outputs of repeated `step` without gradients."""
    outputs = []
    with torch.no_grad():
        state = model.init_state(len(x)) if state is None else arch.copy_state(state)
        for one in x.unbind(1):
            output, state = model.step(one, state)
            outputs.append(output)
    return torch.stack(outputs, 1)


def gradients(model: SequenceModel, x: Tensor) -> list[Tensor]:
    """Return the outputs of `scan` and the gradients of all parameters that they reach."""
    output = model.scan(x, model.init_state(len(x)))[0]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(output.square().sum(), learned, allow_unused=True, retain_graph=True)
    return [output.detach(), *(gradient for gradient in found if gradient is not None)]


def outcome(run: Callable[[], Any]) -> Any:
    """Return what a call returns, or the class of its error."""
    try:
        return run()
    except Exception as error:
        return type(error)


def assert_same(actual: Any, expected: Any) -> None:
    if isinstance(expected, type):
        assert actual is expected
    elif isinstance(expected, list):
        assert isinstance(actual, list) and len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
    else:
        assert isinstance(actual, Tensor), actual
        actual, expected = actual.detach(), expected.detach()
        tolerance = TOLERANCE * max(1.0, float(expected.abs().max())) if expected.numel() else 0.0
        torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def assert_as_equations(model: SequenceModel, x: Tensor, state: Any = None) -> None:
    """Compare steps, outputs and gradients of `auto` with those of `reference`."""
    for run in (lambda: steps(model, x, state), lambda: gradients(model, x)):
        with by_equations(model):
            expected = outcome(run)
        assert_same(outcome(run), expected)
