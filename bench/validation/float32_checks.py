"""The checks of what a run computes: float32 with the backend of the spec, against the equations in float64.

Some algorithms are exact in float64 or on short sequences, but lose digits in float32 on long ones.
"""

# Shape suffixes: B batch, T time

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

import arch
from bench.validation.examples import SMALLEST_SCALE, ArchExample, CheckFailed, ModuleUnderTest, repeat_step

FLOAT32_TOLERANCE = 1e-4
"""Largest allowed difference on short sequences, relative to the largest output. Rounding in float32 gives about 1e-6,
half precision more than 5e-4."""
LONG_TOLERANCE = 1e-3
"""The same for long sequences. A sum over 65,536 steps, added up in order, loses up to 4e-3, typically 1e-5."""
AMPLIFICATION = 16
"""A difference is also allowed if it is at most this multiple of the effect of rounding errors in inputs and weights.
A network may amplify such errors without limit, and then no algorithm gives more digits."""
ROUNDING = torch.finfo(torch.float32).eps
LONG_STEPS = 65_536
"""Longest sequence of `long_sequences`."""
SHORTEST_STEPS = 64
MAX_OPERATIONS, MAX_ELEMENTS = 20_000, 1 << 27
"""Limits of the work for one sequence: operations of torch, and elements of their results. They do not depend on the
speed of the machine. A `scan` that loops over steps, or quadratic attention, reaches about a thousand steps."""
CONTINUED_STEPS = 8


def float32_matches_float64(example: ArchExample) -> None:
    """Check that `forward`, `scan` and `step` in float32, as a run uses them, give the outputs of float64."""
    exact, tested = example.build("float32 weights in float64"), example.build("float32")
    x = exact.draw(example.batch, example.steps)
    with torch.no_grad():
        expected, _ = repeat_step(exact.module, x)
        results = {
            "forward": tested.module(_rounded(x)),
            "scan": tested.module.scan(_rounded(x), tested.module.init_state(len(x)))[0],
            "step": repeat_step(tested.module, _rounded(x))[0],
        }
        for method, actual in results.items():
            if actual.dtype != torch.float32:
                raise CheckFailed(f"`{method}` returns {actual.dtype} although weights and inputs are torch.float32")
            _compare(example, exact, x, actual, expected, f"between `{method}` in float32 and `step` in float64")


def long_sequences(example: ArchExample) -> None:
    """Check `scan` in float32 on sequences of up to `example.steps` steps, and `step` after it, against float64.

    The length grows fourfold from `SHORTEST_STEPS` until the work would exceed `MAX_OPERATIONS` or `MAX_ELEMENTS`. The
    weights are those that a new model has, because perturbed weights may make a layer unstable.
    """
    exact = example.build("float32 weights in float64", noise=0.0)
    tested = example.build("float32", noise=0.0)
    limit = exact.steps_left(0, example.steps)
    steps = min(SHORTEST_STEPS, limit)
    while True:
        x, more = exact.draw(1, steps), exact.draw(1, exact.steps_left(steps, CONTINUED_STEPS), seed=1)
        with torch.no_grad(), _Work() as work:
            expected, state = exact.module.scan(x, exact.module.init_state(1))
        with torch.no_grad():
            actual, actual_state = tested.module.scan(_rounded(x), tested.module.init_state(1))
            if more.shape[1]:
                expected = torch.cat([expected, repeat_step(exact.module, more, state)[0]], 1)
                actual = torch.cat([actual, repeat_step(tested.module, _rounded(more), actual_state)[0]], 1)
            when = f"between float32 and float64, in a sequence of {steps:,} steps and {more.shape[1]} more by `step`"
            _compare(example, exact, x, actual, expected, when, noise=0.0, relative=LONG_TOLERANCE, more=more)
        if steps == limit or 4 * work.operations > MAX_OPERATIONS or 16 * work.elements > MAX_ELEMENTS:
            return
        steps = min(4 * steps, limit)


def compiled_cell(example: ArchExample) -> None:
    """Check that streams run the compiled cell that a layer brings, and that it gives the outputs of the equations.

    A layer without a cell passes.
    """
    tested = example.build("float32")
    layers = [tested.module] if example.level == "layer" else tested.module.layers
    inner = [getattr(layer, "layer", layer) for layer in layers]  # a block contains the layer
    for layer in inner:
        if (obstacle := arch.cell_obstacle(layer)) is not None:
            raise CheckFailed(f"the compiled cell is not used, so steps are interpreted: {obstacle}")
    if example.level == "layer" or not any(map(_brings_cell, inner)):
        return  # only models compile their steps
    exact = example.build("float32 weights in float64")
    x = exact.draw(example.batch, example.steps)
    with torch.no_grad():
        expected, _ = repeat_step(exact.module, x)
        actual, _ = tested.module.stream(_rounded(x), tested.module.init_state(len(x)))
        _compare(example, exact, x, actual, expected, "between the compiled cell and `step` of the layer in float64")


def _brings_cell(layer: Any) -> bool:
    """Return whether the class of a layer brings a compiled cell of its own."""
    if "streaming_spec" not in vars(type(layer)):
        return False
    spec = layer.streaming_spec()
    return spec is not None and spec.cell is not None


class _Work(TorchDispatchMode):
    """Counter of torch's operations, and of the elements of their results and of attention's weights."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        if "scaled_dot_product" in str(function):
            self.elements += args[0].numel() * args[1].shape[-2]  # a product per query, key and channel, not stored
        self.elements += sum(leaf.numel() for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def _rounded(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x


def _compare(
    example: ArchExample,
    exact: ModuleUnderTest,
    x: Tensor,
    actual: Tensor,
    expected: Tensor,
    when: str,
    *,
    noise: float | None = None,
    relative: float = FLOAT32_TOLERANCE,
    more: Tensor | None = None,
) -> None:
    """Raise `CheckFailed` if outputs in float32 differ from those in float64 by more than rounding explains.

    Args:
        example: The example, to build the module again.
        exact: The module in float64.
        x: The inputs, (B, T) or (B, T, D).
        actual: The outputs in float32.
        expected: The outputs in float64. Nothing is compared from the first value on that float32 cannot hold.
        when: The end of the message, which describes the circumstances.
        noise: The perturbation of the weights of `exact`; None for that of `ArchExample.build`.
        relative: Tolerance, relative to the largest output.
        more: Inputs of further steps, which `step` reads; None for none.
    """
    x, expected = x.float().to(x.dtype) if x.is_floating_point() else x, expected
    finite_T = (expected.abs() < torch.finfo(torch.float32).max / 2).flatten(2).all(2).all(0).cummin(0).values
    difference_T = (actual.double() - expected).abs().nan_to_num(nan=torch.inf).flatten(2).amax((0, 2))
    scale = max(SMALLEST_SCALE, expected[:, finite_T].abs().max().item() if finite_T.any() else 0.0)
    allowed_T = torch.full_like(difference_T, relative * scale)
    if not (finite_T & (difference_T > allowed_T)).any():
        return
    allowed_T += AMPLIFICATION * _effect_of_rounding(example, exact, x, noise, more).cummax(0).values
    wrong_T = finite_T & (difference_T > allowed_T)
    if wrong_T.any():
        step = int(wrong_T.int().argmax())
        raise CheckFailed(f"output at step {step + 1:,} differs by {difference_T[step].item():.2g} {when}")


def _effect_of_rounding(
    example: ArchExample, exact: ModuleUnderTest, x: Tensor, noise: float | None, more: Tensor | None
) -> Tensor:
    """Return the largest change of the outputs at each step, (T,), if inputs and weights change by rounding errors."""
    generator = torch.Generator().manual_seed(3)

    def rounded(tensor: Tensor) -> Tensor:
        return tensor * (1 + ROUNDING * torch.randn(tensor.shape, generator=generator, dtype=torch.float64))

    precision: Any = "float32 weights in float64"
    other = example.build(precision) if noise is None else example.build(precision, noise=noise)
    for parameter in other.module.parameters():
        parameter.copy_(rounded(parameter))
    outputs = []
    for module, change in ((exact.module, lambda tensor: tensor), (other.module, rounded)):
        inputs = [change(part) if part.is_floating_point() else part for part in (x, more) if part is not None]
        output, state = module.scan(inputs[0], module.init_state(len(x)))
        if more is not None and more.shape[1]:
            output = torch.cat([output, repeat_step(module, inputs[1], state)[0]], 1)
        outputs.append(output)
    effect_T: Tensor = (outputs[0] - outputs[1]).abs().nan_to_num(nan=torch.inf).flatten(2).amax((0, 2))
    return effect_T
