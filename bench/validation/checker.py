"""Check an architecture or a task against its contract, and shrink the example that fails each check."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import arch
import tasks
from bench.plugins.sanity import describe_error
from bench.plugins.torch_state import preserved
from bench.validation import (
    ARCH_CHECKS,
    LEVELS,
    TASK_CHECKS,
    ArchExample,
    CheckFailed,
    Level,
    TaskExample,
    lengths_to_check,
)
from bench.validation.float32_checks import LONG_STEPS

SIZES = ((11, 2), (1, 2), (5, 1))
"""(steps, batch) of the examples: an odd length, a single step, and a length cut into chunks in every way."""
PRECONDITIONS = ("state_format", "shapes")
"""Checks that come first. If one fails, the others would only fail for the same reason, so they do not run."""
NEEDS_LENGTH = ("gradients_reach_parameters",)
"""Checks that run at the first size only. A single step starts from an empty state, so some weights get no gradient."""
LONG = ("long_sequences",)
"""Checks that run on one long sequence, on a layer and on a model that reads reals. The check shortens it itself."""
NEEDS_BATCH = ("batch_independence",)
"""Checks that run at the first size only. The batch is never shrunk, because the check compares several sequences."""
STATISTICAL = ("chance", "memoryless_score")
"""Task checks that run at the two shortest lengths only, because each check samples thousands of sequences."""
PREFERRED_WIDTH, MAX_WIDTH = 4, 64
STATE_STEPS = 256
"""Steps over which the size of a state is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one check on all examples."""

    check: str
    failure: str | None = None
    """What was observed; None if the check passed."""
    smallest: dict[str, Any] | None = None
    """The size of the smallest failing example that was found; None if the check passed."""

    def __str__(self) -> str:
        return f"check `{self.check}`: {self.found}"

    @property
    def found(self) -> str:
        """What was observed, and at which size; only for a check that failed."""
        assert self.smallest is not None
        size = ", ".join(str(value) if key == "form" else f"{key} {value}" for key, value in self.smallest.items())
        return f"{self.failure}; smallest example: {size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The results of the checks of one architecture or task."""

    name: str
    """The spec of the architecture or task."""
    kind: str
    """`architecture` or `task`."""
    results: tuple[CheckResult, ...]
    state: str | None = None
    """The size of the state in words, and whether it grows; None for a task."""
    plugin: str | None = None
    """The digest of the plugin that defines the architecture or task; None if it is built in."""
    not_run: tuple[str, ...] = ()
    """The names of the checks that did not run, because an earlier check failed on which they depend."""

    @property
    def failed(self) -> list[CheckResult]:
        """The results of the checks that failed."""
        return [result for result in self.results if result.failure is not None]


@preserved()
def validate_arch(spec: str) -> Verdict:
    """Run every check of an architecture at every level and several sizes.

    If a check in `PRECONDITIONS` fails, no others follow.

    Raises:
        ValueError: If the spec is wrong. Also if the architecture accepts no width up to `MAX_WIDTH`, or reads at most
            one step.
    """
    parsed = arch.get(spec)
    file = inspect.getfile(parsed.layer)
    widths = _accepted_widths(parsed)
    width = next((width for width in widths if width >= PREFERRED_WIDTH), widths[-1])
    sizes = _accepted_sizes(parsed, width)
    results: list[CheckResult] = []
    for name, check in ARCH_CHECKS.items():
        if name not in PRECONDITIONS and any(result.failure for result in results if result.check in PRECONDITIONS):
            break
        levels: tuple[Level, ...] = tuple(LEVELS)
        checked_sizes = sizes[:1] if name in NEEDS_LENGTH + NEEDS_BATCH else sizes
        if name in LONG:
            levels, checked_sizes = ("layer", "reals"), [(LONG_STEPS, 1)]
        examples = (
            ArchExample(package=arch, spec=str(parsed), level=level, width=width, batch=batch, steps=steps)
            for level in levels
            for steps, batch in checked_sizes
        )
        results.append(_run_check(name, check, examples, _arch_shrinkings(name, widths), file))
    refused = [result.failure for result in results if result.check == "state_format" and result.failure]
    state = f"state size unknown: {refused[0]}" if refused else _describe_state_size(parsed, width, file)
    not_run = tuple(ARCH_CHECKS)[len(results) :]
    return Verdict(name=str(parsed), kind="architecture", results=tuple(results), state=state, not_run=not_run)


@preserved()
def validate_task(spec: str) -> Verdict:
    """Run every check of a task at several lengths.

    Raises:
        ValueError: If the spec is wrong.
    """
    task = tasks.build(spec)
    file = inspect.getfile(type(task))
    lengths = _lengths(task)
    results = []
    for name, check in TASK_CHECKS.items():
        examples = (
            TaskExample(task=task, length=length) for length in (lengths[:2] if name in STATISTICAL else lengths)
        )
        results.append(_run_check(name, check, examples, _task_shrinkings(name), file))
    return Verdict(name=str(task), kind="task", results=tuple(results))


def _run_check(
    name: str,
    check: Callable[[Any], None],
    examples: Iterator[Any],
    shrinkings: Callable[[Any], Iterator[Iterator[Any]]],
    file: str,
) -> CheckResult:
    """Run a check until an example fails, and shrink that example while it still fails.

    Args:
        name: The name of the check.
        check: The check.
        examples: The examples to run the check on, in order.
        shrinkings: Yields the smaller values to try for an example, one iterator of values per field.
        file: The source file whose line numbers are shown for exceptions.
    """
    for example in examples:
        if (failure := _failure(check, example, file)) is None:
            continue
        for changes in shrinkings(example):
            for change in changes:
                smaller = dataclasses.replace(example, **change)
                if (smaller_failure := _failure(check, smaller, file)) is not None:
                    example, failure = smaller, smaller_failure
                    break
        return CheckResult(check=name, failure=failure, smallest=_size(example))
    return CheckResult(check=name)


@preserved()
def _failure(check: Callable[[Any], None], example: Any, file: str) -> str | None:
    try:
        check(example)
    except CheckFailed as failure:
        return str(failure)
    except Exception as error:  # a plugin may raise any exception, and every exception fails the check
        return f"raised {describe_error(error, file)}"
    return None


def _arch_shrinkings(name: str, widths: list[int]) -> Callable[[ArchExample], Iterator[Iterator[dict[str, Any]]]]:
    def shrinkings(example: ArchExample) -> Iterator[Iterator[dict[str, Any]]]:
        if name not in NEEDS_LENGTH + LONG:
            yield ({"steps": steps} for steps in range(1, example.steps))
        if name not in NEEDS_BATCH:
            yield ({"batch": batch} for batch in range(1, example.batch))
        yield ({"width": width} for width in widths if 1 < width < example.width)

    return shrinkings


def _task_shrinkings(name: str) -> Callable[[TaskExample], Iterator[Iterator[dict[str, Any]]]]:
    def shrinkings(example: TaskExample) -> Iterator[Iterator[dict[str, Any]]]:
        shortest = example.task.min_length
        yield ({"length": length} for length in _accepted_lengths(example.task, range(shortest, example.length)))
        if name not in STATISTICAL and name != "determinism":
            yield ({"batch": batch} for batch in range(1, example.batch))

    return shrinkings


def _size(example: Any) -> dict[str, Any]:
    if isinstance(example, ArchExample):
        form = f"as {LEVELS[example.level]}"
        return {"length": example.steps, "batch": example.batch, "width": example.width, "form": form}
    return {"length": example.length, "batch": example.batch}


def _lengths(task: tasks.Task) -> list[int]:
    try:
        return lengths_to_check(task)
    except Exception:  # the check `lengths` reports the error
        return [1]


def _accepted_lengths(task: tasks.Task, lengths: range) -> Iterator[int]:
    for length in lengths:
        try:
            task.check_length(length)
        except ValueError:  # a plugin may raise any `ValueError`, not only `ImpossibleLength`
            continue
        yield length


def _accepted_widths(parsed: arch.Arch) -> list[int]:
    refusals = []

    def accepts(width: int) -> bool:
        try:
            arch.build(parsed, channels=1, outputs=1, width=width, depth=1)
        except ValueError as error:
            refusals.append(str(error))
            return False
        return True

    with arch.meta_device():
        widths = [width for width in range(1, MAX_WIDTH + 1) if accepts(width)]
    if not widths:
        raise arch.NoWidth.after(parsed, MAX_WIDTH, refusals)
    return widths


def _accepted_sizes(parsed: arch.Arch, width: int) -> list[tuple[int, int]]:
    """Return `SIZES` with lengths limited to the architecture's maximum.

    Raises:
        ValueError: If the maximum is below 2 steps.
    """
    with arch.meta_device():
        max_length = arch.build(parsed, channels=1, outputs=1, width=width, depth=1).max_length
    if max_length is None:
        return list(SIZES)
    if max_length < 2:
        raise ValueError(f"{parsed} reads at most {max_length} step, so it cannot remember: choose a larger maximum")
    return [(min(steps, max_length), batch) for steps, batch in SIZES]


def _describe_state_size(parsed: arch.Arch, width: int, file: str) -> str:
    """Measure the size of one layer's state per stream over at most `STATE_STEPS` steps, and describe it in words."""
    layer = arch.build(parsed, channels=1, outputs=1, width=width, depth=1, seed=0).eval().layers[0]
    assert isinstance(layer, arch.Layer)
    x_BTD = torch.zeros(1, STATE_STEPS, width if layer.residual else 1)
    sizes: list[int] = []
    try:
        with torch.inference_mode():
            state = layer.init_state(1)
            for x_BD in x_BTD[:, : layer.max_length].unbind(1):
                _, state = layer.step(x_BD, state)
                sizes.append(arch.state_bytes(state))
    except Exception as error:  # a plugin may raise any exception; the checks report it too
        return f"state size unknown: {describe_error(error, file)}"
    first, last = sizes[0], sizes[-1]
    details = f"{first:,} bytes per stream after step 1, {last:,} after step {len(sizes)}, at width {width}"
    if first == last == max(sizes):
        return f"state constant: {last:,} bytes per stream at width {width}"
    if sizes[len(sizes) // 4] == last:
        return f"state constant from step {sizes.index(last) + 1}: {details}"
    return f"state grows by {(last - first) / (len(sizes) - 1):,.0f} bytes per step: {details}"
