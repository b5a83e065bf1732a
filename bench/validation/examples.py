"""Examples for the architecture checks: one layer, or a model that reads reals or tokens, at one size.

Weights and real inputs are in float64 or complex128, so that differences larger than rounding are errors. Modules are
in evaluation mode, so that dropout and noise do not act. All weights are perturbed at random, so that no bias stays
at zero and no gain stays at one.
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

import arch

EXACTNESS = 1e-9
"""Tolerance in float64, relative to the largest value. Two correct computations of the same equations differ by about
1e-14."""
SMALLEST_SCALE = 1e-5
"""Values whose largest magnitude is below this number are compared on this scale, because a layer with outputs of the
order of one may cancel them up to rounding errors of 1e-15."""

WEIGHT_NOISE = 0.2
"""Standard deviation of the perturbation of the weights."""

CHANNELS, VOCABULARY, OUTPUTS = 3, 5, 4

Level = Literal["layer", "reals", "tokens"]
Precision = Literal["float64", "float32", "float32 weights in float64"]
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
"""Gradient modes to check. If gradients are disabled, a layer may update its state in place."""


class CheckFailed(AssertionError):
    """A failed check; the message says what was observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleUnderTest:
    """A layer or a model in evaluation mode, with a function that samples its inputs in float64."""

    module: Any
    draw: Callable[..., Tensor]
    """Function called as `draw(batch, steps, seed=0)`. It returns reals (batch, steps, D) or tokens (batch, steps). The
    same seed gives the same inputs."""

    def steps_left(self, steps: int, wanted: int) -> int:
        """Return how many of `wanted` more steps the module can read after `steps` steps."""
        max_length: int | None = self.module.max_length
        return wanted if max_length is None else min(wanted, max_length - steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchExample:
    """An architecture at one size, as the input of a check."""

    package: ModuleType
    """The package `arch`, or a copy of it under test."""
    spec: str
    """The architecture, such as `lstm:bias=False`."""
    level: Level
    """Whether to build one layer, a model that reads reals, or a model that reads tokens."""
    width: int
    """Width of the layers."""
    batch: int = 2
    """Number of sequences."""
    steps: int = 11
    """Length of the sequences."""
    same_state: Callable[[Any, Any], None] | None = None
    """Function that raises an error if two states differ. If None, states are not compared."""

    def build(self, precision: Precision = "float64", *, noise: float = WEIGHT_NOISE) -> ModuleUnderTest:
        """Build the module in evaluation mode; its weights are the same every time.

        Args:
            precision: `float32 weights in float64` gives exactly the weights that `float32` gives.
            noise: Standard deviation of the perturbation of the weights.
        """
        vocabulary = VOCABULARY if self.level == "tokens" else None
        chosen = self.package.get(self.spec)
        depth = 1 if self.level == "layer" else max(2, chosen.layer.least_depth(**chosen.layer_options))
        built = model(self.package, self.spec, self.width, depth=depth, vocabulary=vocabulary, noise=noise).eval()
        if precision != "float64":
            built = arch.to_float32(built)
        if precision == "float32 weights in float64":
            built = arch.to_float64(built)
        if self.level == "layer":
            layer = built.layers[0]
            return ModuleUnderTest(module=layer, draw=_real_inputs(self.width if layer.residual else CHANNELS))
        return ModuleUnderTest(module=built, draw=_real_inputs(CHANNELS) if vocabulary is None else _token_inputs)

    def compare_states(self, actual: Any, expected: Any) -> None:
        """Raise the error of `same_state` if two states differ. Do nothing if `same_state` is None."""
        if self.same_state is not None:
            self.same_state(actual, expected)


def model(
    package: Any,
    spec: str,
    width: int,
    *,
    depth: int = 2,
    vocabulary: int | None = None,
    noise: float = WEIGHT_NOISE,
) -> Any:
    """Build a model in float64 and complex128 with perturbed weights.

    Args:
        package: The package `arch`, or a copy of it under test.
        spec: The architecture, such as `lstm:bias=False`.
        width: Width of the layers.
        depth: Number of layers.
        vocabulary: Number of tokens; None for a model that reads reals.
        noise: Standard deviation of the perturbation.
    """
    channels = CHANNELS if vocabulary is None else None
    built = arch.to_float64(
        package.build(spec, outputs=OUTPUTS, vocabulary=vocabulary, channels=channels, width=width, depth=depth, seed=1)
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return built


def scan_chunks(module: Any, x: Tensor, chunks: Sequence[int] | int, state: Any = None) -> tuple[Tensor, Any]:
    """Feed inputs to `scan` in chunks; return the outputs and the final state.

    Args:
        module: A layer or a model.
        x: Inputs (B, T, D) or tokens (B, T). If T is 0, `x` itself is returned as the outputs.
        chunks: The lengths of the chunks, or one length for all of them.
        state: The state to start from, which may be modified in place; None for the initial state.
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
    """Feed inputs (B, T, ...) to `step`, one step at a time; return the outputs and the final state.

    If T is 0, `x` itself is returned as the outputs. If `state` is None, the initial state is used. `state` may be
    modified in place.
    """
    state = module.init_state(len(x)) if state is None else state
    if not x.shape[1]:
        return x, state
    outputs = []
    for x_BD in x.unbind(1):
        output, state = module.step(x_BD, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def same_outputs(actual: Tensor, expected: Tensor, when: str, *, first: int = 1) -> None:
    """Raise `CheckFailed` if outputs (B, T, ...) differ in shape or by more than `tolerance`.

    If their shapes are equal, the message names the first step that differs.

    Args:
        actual: The outputs to check.
        expected: The outputs to compare with.
        when: The circumstances in which the outputs differ, for the message.
        first: The number of the first step in the outputs, for the message.
    """
    if actual.shape != expected.shape:
        raise CheckFailed(f"the output shape differs {when}: {tuple(actual.shape)}, not {tuple(expected.shape)}")
    difference = (actual - expected).abs().transpose(0, 1).flatten(1).nan_to_num(nan=torch.inf)
    wrong = difference.max(1).values > tolerance(expected)
    if not wrong.any():
        return
    step = int(wrong.int().argmax())
    raise CheckFailed(f"output at step {first + step} differs by {difference[step].max().item():.2g} {when}")


def tolerance(expected: Tensor) -> float:
    """Return the largest difference from `expected` that counts as rounding in float64.

    The scale is the largest value, because a product over many values rounds each of them on that scale.
    """
    return EXACTNESS * max(SMALLEST_SCALE, expected.abs().max().item()) if expected.numel() else EXACTNESS


def changed_inputs(x: Tensor) -> Tensor:
    """Return inputs that differ from `x` at every step.

    A norm cannot undo the change of several channels, because the change is neither a shift nor a scaling.
    """
    if not x.is_floating_point():
        return (x + 1) % VOCABULARY
    return x.roll(1, -1) if x.shape[-1] > 1 else 0.5 - 2 * x


def _real_inputs(channels: int) -> Callable[..., Tensor]:
    def draw(batch: int, steps: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, steps, channels, generator=generator, dtype=torch.float64)

    return draw


def _token_inputs(batch: int, steps: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (batch, steps), generator=torch.Generator().manual_seed(seed))
