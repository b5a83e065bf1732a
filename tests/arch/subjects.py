"""What the laws and the oracles look at: an architecture as a layer, and as a model of reals or of tokens.

Laws and oracles reach the architectures through this module alone: `arch` below is the package under
test, and the fault tests put a faulty copy of the package in its place.
"""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

import arch as real_package

arch: ModuleType = real_package

SPECS = (
    "rnn:nonlinearity=relu,init=identity",
    "rnn:bias=False,init=orthogonal",
    "lstm:bias=False,forget_bias=1",
    "lstm:forget_bias=2,init=orthogonal",
    "gru:reset=before",
    "gru:bias=False,init=orthogonal",
    "gru:reset=before,bias=False",
    "transformer:positions=sinusoidal,heads=1",
    "transformer:positions=learned,max_length=16",
    "transformer:positions=alibi,heads=4",
    "transformer:positions=none,expansion=2",
    "transformer:window=3",
    "transformer:positions=alibi,window=3",
    "transformer:positions=learned,max_length=16,window=1",
)
"""Variants that take another way through an architecture's file than its defaults do."""

LEVELS = ("layer", "reals", "tokens")

WIDTH = 8  # the least that four heads accept
CHANNELS = 3
VOCABULARY = 5
OUTPUTS = 4
BATCH = 2

SPREAD = 0.2
"""How far weights are moved from where they start, so that no bias is zero and no gain is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A layer or a model in float64, with a source of inputs for it."""

    module: Any
    draw: Callable[..., Tensor]
    """Inputs of `batch` sequences of `steps` steps: the same ones for the same `seed`."""


def every_spec() -> list[str]:
    """Each architecture by name, so that a new file is tested by existing, and the variants."""
    return [*arch.names(), *SPECS]


def subject(spec: str, level: str) -> Subject:
    """The architecture as one layer, or as a model of two layers that reads reals or tokens."""
    if level == "layer":
        layer = model(spec, depth=1).layers[0]
        return Subject(module=layer, draw=_reals(WIDTH if layer.residual else CHANNELS))
    if level == "reals":
        return Subject(module=model(spec), draw=_reals(CHANNELS))
    return Subject(module=model(spec, vocabulary=VOCABULARY), draw=_tokens)


def model(spec: str, *, depth: int = 2, vocabulary: int | None = None) -> Any:
    """A model in float64 whose every weight has been moved at random."""
    channels = CHANNELS if vocabulary is None else None
    built = arch.build(
        spec, outputs=OUTPUTS, vocabulary=vocabulary, channels=channels, width=WIDTH, depth=depth, seed=1
    ).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(SPREAD * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return built


def scan_chunks(module: Any, x: Tensor, chunks: Sequence[int], state: Any = None) -> tuple[Tensor, Any]:
    """Outputs and the last state of inputs fed in chunks of these lengths, from `state` or the empty one."""
    state = module.init_state(len(x)) if state is None else state
    outputs = []
    for chunk in x.split(list(chunks), 1):
        output, state = module.scan(chunk, state)
        outputs.append(output)
    return torch.cat(outputs, 1), state


def repeat_step(module: Any, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Outputs and the last state of inputs fed one step at a time."""
    state = module.init_state(len(x)) if state is None else state
    outputs = []
    for one_step in x.unbind(1):
        output, state = module.step(one_step, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def assert_same_state(actual: Any, expected: Any, close: Callable[[Any, Any], None]) -> None:
    """Two states are the same up to a cache's free room and the steps that its window has left behind."""
    if type(actual).__name__ == "Cache":
        assert actual.position == expected.position
        live = min(actual.length, expected.length)
        for slots in ("keys_BNSK", "values_BNSK"):
            pair = ((getattr(cache, slots), cache.length) for cache in (actual, expected))
            close(*(tensor[:, :, length - live : length] for tensor, length in pair))
    elif isinstance(actual, (tuple, list)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_state(one, other, close)
    else:
        close(actual, expected)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "enable_grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
"""Ways to run, which a state may tell apart: memory is reused only where no gradient needs it."""


def _reals(width: int) -> Callable[..., Tensor]:
    def draw(batch: int, steps: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, steps, width, generator=generator, dtype=torch.float64)

    return draw


def _tokens(batch: int, steps: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, steps), generator=torch.Generator().manual_seed(seed))
