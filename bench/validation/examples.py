"""What the laws of architectures look at: a layer, or a model of reals or of tokens, at one size.

Everything is in float64, so that a difference is a difference and not rounding, and every weight is
moved at random from where it starts, so that no bias is zero and no gain is one.
"""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

EXACTNESS = 1e-9
"""Two ways through the same equations in float64 differ by rounding: about 1e-14 here, and far under this."""

SPREAD = 0.2
"""How far weights are moved from where they start."""

CHANNELS, VOCABULARY, OUTPUTS = 3, 5, 4

Level = Literal["layer", "reals", "tokens"]
LEVELS: dict[Level, str] = {
    "layer": "one layer",
    "reals": "a model of two layers that reads reals",
    "tokens": "a model of two layers that reads tokens",
}

MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "enable_grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}
"""Ways to run, which a state may tell apart: memory is reused only where no gradient needs it."""


class CheckFailed(AssertionError):
    """A law does not hold; the message says in words what was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A layer or a model in float64, with a source of inputs for it."""

    module: Any
    draw: Callable[..., Tensor]
    """Inputs of `batch` sequences of `steps` steps: the same ones for the same `seed`."""

    def room_after(self, steps: int, wanted: int) -> int:
        """How many of the further steps that are wanted can be read after so many."""
        longest: int | None = self.module.max_length
        return wanted if longest is None else min(wanted, longest - steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An architecture at one size."""

    package: ModuleType
    """The package `arch`, or a copy of it that is under test."""
    spec: str
    level: Level
    width: int
    batch: int = 2
    steps: int = 11
    same_state: Callable[[Any, Any], None] | None = None
    """Raises where two states differ, for who knows their inside; else only what follows from them is compared."""

    def subject(self) -> Subject:
        """The architecture anew, with the same weights every time."""
        if self.level == "layer":
            layer = model(self.package, self.spec, self.width, depth=1).layers[0]
            return Subject(module=layer, draw=_reals(self.width if layer.residual else CHANNELS))
        if self.level == "reals":
            return Subject(module=model(self.package, self.spec, self.width), draw=_reals(CHANNELS))
        return Subject(module=model(self.package, self.spec, self.width, vocabulary=VOCABULARY), draw=_tokens)

    def compare_states(self, actual: Any, expected: Any) -> None:
        """Raises `Broken` where it is known how to compare them, and they differ."""
        if self.same_state is not None:
            self.same_state(actual, expected)


def model(package: Any, spec: str, width: int, *, depth: int = 2, vocabulary: int | None = None) -> Any:
    """A model in float64 whose every weight has been moved at random."""
    channels = CHANNELS if vocabulary is None else None
    built = package.build(
        spec, outputs=OUTPUTS, vocabulary=vocabulary, channels=channels, width=width, depth=depth, seed=1
    ).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(SPREAD * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return built


def scan_chunks(module: Any, x: Tensor, chunks: Sequence[int] | int, state: Any = None) -> tuple[Tensor, Any]:
    """Outputs and the last state of inputs fed in chunks of these lengths, from `state` or the empty one.

    No steps give no outputs.
    """
    state = module.init_state(len(x)) if state is None else state
    if not x.shape[1]:
        return x, state
    outputs = []
    for chunk in x.split(chunks if isinstance(chunks, int) else list(chunks), 1):
        output, state = module.scan(chunk, state)
        outputs.append(output)
    return torch.cat(outputs, 1), state


def repeat_step(module: Any, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Outputs and the last state of inputs fed one step at a time. No steps give no outputs."""
    state = module.init_state(len(x)) if state is None else state
    if not x.shape[1]:
        return x, state
    outputs = []
    for one_step in x.unbind(1):
        output, state = module.step(one_step, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def same_outputs(actual: Tensor, expected: Tensor, when: str, *, first: int = 1) -> None:
    """Raises `Broken` where outputs (B, T, ...) differ, naming the first such step, the steps counted from `first`."""
    if actual.shape != expected.shape:
        raise CheckFailed(f"outputs have the shape {tuple(actual.shape)}, not {tuple(expected.shape)}, {when}")
    if torch.allclose(actual, expected, rtol=EXACTNESS, atol=EXACTNESS):
        return
    apart = (actual - expected).abs().transpose(0, 1).flatten(1).nan_to_num(nan=torch.inf)
    wrong = apart.max(1).values > EXACTNESS
    step = int(wrong.int().argmax())
    raise CheckFailed(f"output at step {first + step} differs by {apart[step].max().item():.2g} {when}")


def another(x: Tensor) -> Tensor:
    """Inputs that differ from `x` at every step, and not by a shift or a scale, which a norm would undo."""
    return x.roll(1, -1) if x.is_floating_point() else (x + 1) % VOCABULARY


def _reals(channels: int) -> Callable[..., Tensor]:
    def draw(batch: int, steps: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, steps, channels, generator=generator, dtype=torch.float64)

    return draw


def _tokens(batch: int, steps: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, steps), generator=torch.Generator().manual_seed(seed))
