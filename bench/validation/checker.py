"""`carousel validate`: does an architecture or a task keep its contract? If not, which law, where, at what size?"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

import arch
import tasks
from bench.plugins.sanity import what_happened
from bench.validation import ARCH_CHECKS, LEVELS, TASK_CHECKS, CheckFailed, TaskTrial, Trial, lengths_of

SIZES = ((11, 2), (1, 2), (5, 1))
"""Steps and batches at which every law is held: an odd length, a single step, and one in all its chunkings."""
ONLY_LONG = ("gradients_reach",)
"""At its first step a memory is empty, and what reads it has no gradient yet."""
ONLY_TOGETHER = ("batch_independence",)
ONLY_SHORT = ("chance", "present_input")
"""Laws of tasks that are held against thousands of sequences, at the two smallest lengths."""
USUAL_WIDTH, WIDEST = 4, 64
STATE_STEPS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One law: None where it holds, else what was seen, and the smallest example found."""

    law: str
    broken: str | None = None
    smallest: dict[str, Any] | None = None

    def __str__(self) -> str:
        assert self.smallest is not None
        size = ", ".join(str(value) if key == "form" else f"{key} {value}" for key, value in self.smallest.items())
        return f"law `{self.law}`: {self.broken}; smallest: {size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one architecture or task."""

    name: str
    kind: str
    findings: tuple[Finding, ...]
    state: str | None = None
    """How much an architecture's state weighs, and whether it grows."""
    plugin: str | None = None

    @property
    def broken(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.broken is not None]


def validate_arch(spec: str) -> Verdict:
    """An architecture against every law, in every form, at several sizes. Raises `ValueError` for a wrong spec."""
    found = arch.get(spec)
    file = inspect.getfile(found.layer)
    widths = _accepted_widths(found)
    width = next((width for width in widths if width >= USUAL_WIDTH), widths[-1])
    sizes = _readable_sizes(found, width)
    findings = []
    for name, law in ARCH_CHECKS.items():
        trials = (
            Trial(package=arch, spec=str(found), level=level, width=width, batch=batch, steps=steps)
            for level in LEVELS
            for steps, batch in (sizes[:1] if name in ONLY_LONG + ONLY_TOGETHER else sizes)
        )
        findings.append(_first_broken(name, _arch_shrinkings(name, widths), law, trials, file))
    return Verdict(
        name=str(found), kind="architecture", findings=tuple(findings), state=_state_growth(found, width, file)
    )


def validate_task(spec: str) -> Verdict:
    """A task against every law, at several lengths. Raises `ValueError` for a wrong spec."""
    task = tasks.build(spec)
    file = inspect.getfile(type(task))
    lengths = _lengths(task)
    findings = []
    for name, law in TASK_CHECKS.items():
        trials = (TaskTrial(task=task, length=length) for length in (lengths[:2] if name in ONLY_SHORT else lengths))
        findings.append(_first_broken(name, _task_shrinkings(name), law, trials, file))
    return Verdict(name=str(task), kind="task", findings=tuple(findings))


def _first_broken(
    name: str,
    shrinkings: Callable[[Any], Iterator[Iterator[Any]]],
    law: Callable[[Any], None],
    trials: Iterator[Any],
    file: str,
) -> Finding:
    """The finding of the first of these trials that breaks the law, made as small as it stays broken."""
    for trial in trials:
        if (said := _broken(law, trial, file)) is None:
            continue
        for smaller in shrinkings(trial):
            for candidate in smaller:
                candidate = _keep(trial, candidate)
                if (now := _broken(law, candidate, file)) is not None:
                    trial, said = candidate, now
                    break
        return Finding(law=name, broken=said, smallest=_size(trial))
    return Finding(law=name)


def _broken(law: Callable[[Any], None], trial: Any, file: str) -> str | None:
    try:
        law(trial)
    except CheckFailed as broken:
        return str(broken)
    except Exception as error:  # whatever a plugin raises breaks the law that asked for it
        return f"raised {what_happened(error, file)}"
    return None


def _keep(trial: Any, change: dict[str, Any]) -> Any:
    return dataclasses.replace(trial, **change)


def _arch_shrinkings(name: str, widths: list[int]) -> Callable[[Trial], Iterator[Iterator[dict[str, Any]]]]:
    def shrinkings(trial: Trial) -> Iterator[Iterator[dict[str, Any]]]:
        if name not in ONLY_LONG:
            yield ({"steps": steps} for steps in range(1, trial.steps))
        if name not in ONLY_TOGETHER:
            yield ({"batch": batch} for batch in range(1, trial.batch))
        yield ({"width": width} for width in widths if 1 < width < trial.width)

    return shrinkings


def _task_shrinkings(name: str) -> Callable[[TaskTrial], Iterator[Iterator[dict[str, Any]]]]:
    def shrinkings(trial: TaskTrial) -> Iterator[Iterator[dict[str, Any]]]:
        least = trial.task.min_length
        yield ({"length": length} for length in _possible(trial.task, range(least, trial.length)))
        if name not in ONLY_SHORT and name != "determinism":
            yield ({"batch": batch} for batch in range(1, trial.batch))

    return shrinkings


def _size(trial: Any) -> dict[str, Any]:
    if isinstance(trial, Trial):
        form = f"as {LEVELS[trial.level]}"
        return {"length": trial.steps, "batch": trial.batch, "width": trial.width, "form": form}
    return {"length": trial.length, "batch": trial.batch}


def _lengths(task: tasks.Task) -> list[int]:
    try:
        return lengths_of(task)
    except Exception:  # the law `lengths` says what is wrong with them
        return [1]


def _possible(task: tasks.Task, lengths: range) -> Iterator[int]:
    for length in lengths:
        try:
            task.check_length(length)
        except ValueError:
            continue
        yield length


def _accepted_widths(found: arch.Arch) -> list[int]:
    def accepts(width: int) -> bool:
        try:
            arch.build(found, channels=1, outputs=1, width=width, depth=1)
        except ValueError:
            return False
        return True

    with torch.device("meta"):
        widths = [width for width in range(1, WIDEST + 1) if accepts(width)]
    if not widths:
        raise ValueError(f"{found} accepts no width up to {WIDEST}")
    return widths


def _readable_sizes(found: arch.Arch, width: int) -> list[tuple[int, int]]:
    """`SIZES`, no longer than what the architecture can read. Raises `ValueError` where that is a single step."""
    with torch.device("meta"):
        longest = arch.build(found, channels=1, outputs=1, width=width, depth=1).max_length
    if longest is None:
        return list(SIZES)
    if longest < 2:
        raise ValueError(f"{found} reads sequences of at most {longest} step, which leaves nothing to remember")
    return [(min(steps, longest), batch) for steps, batch in SIZES]


def _state_growth(found: arch.Arch, width: int, file: str) -> str:
    """What one stream's state weighs as steps are fed to one layer, measured."""
    layer = arch.build(found, channels=1, outputs=1, width=width, depth=1, seed=0).layers[0]
    assert isinstance(layer, arch.Layer)
    x_BTD = torch.zeros(1, STATE_STEPS, width if layer.residual else 1)
    weighed: list[int] = []
    try:
        with torch.inference_mode():
            state = layer.init_state(1)
            for x_BD in x_BTD[:, : layer.max_length].unbind(1):
                _, state = layer.step(x_BD, state)
                weighed.append(arch.state_bytes(state))
    except Exception as error:  # a plugin may raise anything, which the laws say too
        return f"its state could not be weighed: {what_happened(error, file)}"
    first, last = weighed[0], weighed[-1]
    sizes = f"{first:,} bytes a stream after step 1, {last:,} after step {len(weighed)}, at width {width}"
    if first == last == max(weighed):
        return f"state constant: {last:,} bytes a stream at width {width}"
    if weighed[len(weighed) // 4] == last:
        return f"state constant from step {weighed.index(last) + 1} on: {sizes}"
    return f"state grows by {(last - first) / (len(weighed) - 1):,.0f} bytes a step: {sizes}"
