"""Choose architectures, tasks and lengths from all grids of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.errors import NothingSelected
from bench.plans.extra import Extra
from bench.plans.plan import Plan
from bench.plans.selection import select

Names = Callable[[], Sequence[str]]
"""Function that returns all registered names."""
MAX_NAMED = 3
"""Number of specs that an error names before it only counts the others."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """The architectures, or the tasks, that the user chose from a plan."""

    known: frozenset[str]
    """The specs of all grids of the plan."""
    specs: tuple[str, ...]
    """The chosen specs, in the order of the patterns. Some may be unknown to the plan."""
    spelled: frozenset[str]
    """The patterns without their prefix. Those of whole specs name them in full."""

    @classmethod
    def by(cls, kind: str, known: Sequence[str], patterns: Sequence[str], names: Names) -> _Choice:
        """Return the choice by some patterns, or everything if there are none. Raises the errors of `select`."""
        specs = select(kind, known, patterns, names) if patterns else tuple(known)
        spelled = frozenset(pattern.removeprefix("+") for pattern in patterns)
        return cls(known=frozenset(known), specs=specs, spelled=spelled)

    def among(self, specs: Iterable[str]) -> tuple[str, ...]:
        """Return those of some specs that were chosen."""
        given = frozenset(specs)
        return tuple(spec for spec in self.specs if spec in given)

    def added(self, left: Iterable[str]) -> tuple[str, ...]:
        """Return the chosen specs that a grid has to take in, because none of the grids that are left has them.

        They are unknown to the plan, or the user named them in full. `left` are the specs of the grids that are left.
        """
        found = frozenset(left)
        return tuple(
            spec for spec in self.specs if spec not in found and (spec not in self.known or spec in self.spelled)
        )


@dataclass(frozen=True, slots=True)
class _Grid:
    """A product of architectures, tasks and lengths. `extra` is None for the plan's own grid."""

    extra: Extra | None
    archs: tuple[str, ...]
    tasks: tuple[str, ...]
    lengths: tuple[int, ...]

    @property
    def has_cases(self) -> bool:
        return bool(self.archs and self.tasks)

    def as_extra(self) -> Extra:
        """Return the extra grid with these architectures, tasks and lengths, and with its own size and protocol."""
        own = {"archs": self.archs, "tasks": self.tasks, "lengths": self.lengths, "pairs": ()}
        return (self.extra or Extra()).model_copy(update=own)


def specs_of(plan: Plan) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the architectures and the tasks of all grids of a plan, each once."""
    grids = _grids(plan)
    archs = dict.fromkeys(spec for grid in grids for spec in grid.archs)
    return tuple(archs), tuple(dict.fromkeys(spec for grid in grids for spec in grid.tasks))


def choose(
    plan: Plan,
    *,
    archs: Sequence[str] = (),
    tasks: Sequence[str] = (),
    lengths: tuple[int, ...] | None = None,
    arch_names: Names,
    task_names: Names,
) -> Plan:
    """Return the plan with the chosen architectures, tasks and lengths in all of its grids.

    Each grid keeps its cases with a chosen architecture and a chosen task. Other specs that the user named are added to
    the first grid that has cases left. If none has, they are added to the first grid with a chosen task, else to the
    plan's own grid. Extra grids that take their architectures or tasks from the plan's own grid follow it. The
    architectures of the result are empty if the plan's own grid has no case left.

    Args:
        plan: The plan as it is written.
        archs, tasks: Patterns, as `select` describes them. If there are none, everything is chosen.
        lengths: Lengths in time steps that replace those of each grid; None to keep them.
        arch_names, task_names: Functions that return the registered names.

    Raises `NothingSelected` if a pattern matches nothing, or if no grid has a chosen architecture on a chosen task.
    """
    if not archs and not tasks and lengths is None:
        return plan
    grids, (known_archs, known_tasks) = _grids(plan), specs_of(plan)
    of_archs = _Choice.by("architecture", known_archs, archs, arch_names)
    of_tasks = _Choice.by("task", known_tasks, tasks, task_names)
    kept = [
        replace(
            grid,
            archs=of_archs.among(grid.archs),
            tasks=of_tasks.among(grid.tasks),
            lengths=lengths or grid.lengths,
        )
        for grid in grids
    ]
    left = [grid for grid in kept if grid.has_cases]
    new_archs = of_archs.added(spec for grid in left for spec in grid.archs)
    new_tasks = of_tasks.added(spec for grid in left for spec in grid.tasks)
    host = [*left, *(grid for grid in kept if grid.tasks), kept[0]][0]
    grown = [
        replace(
            grid,
            archs=of_archs.among((*grid.archs, *new_archs)) if _takes_in(grid, host, "archs") else grid.archs,
            tasks=of_tasks.among((*grid.tasks, *new_tasks)) if _takes_in(grid, host, "tasks") else grid.tasks,
        )
        for grid in kept
    ]
    own, *others = grown
    extras = tuple(grid.as_extra() for grid in others if grid.has_cases)
    if not own.has_cases and not extras:
        raise NothingSelected(
            f"the plan has no case of {_named(of_archs.specs)} on {_named(of_tasks.specs)}; choose architectures and "
            "tasks that it combines, or name one in full to add it"
        )
    if not own.has_cases:
        return plan.model_copy(update={"archs": (), "extra": extras})
    return plan.model_copy(update={"archs": own.archs, "tasks": own.tasks, "lengths": own.lengths, "extra": extras})


def _grids(plan: Plan) -> list[_Grid]:
    """Return the plan's own grid, and the products of which each extra grid consists."""
    extras = [
        _Grid(extra=extra, archs=extra.archs or plan.archs, tasks=tasks, lengths=lengths)
        for extra in plan.extra
        for tasks, lengths in extra.products(plan.tasks, plan.lengths)
    ]
    return [_Grid(extra=None, archs=plan.archs, tasks=plan.tasks, lengths=plan.lengths), *extras]


def _takes_in(grid: _Grid, host: _Grid, field: str) -> bool:
    """Return whether a grid takes in what is added to the grid `host`, in the field `archs` or `tasks`."""
    inherits = grid.extra is not None and not grid.extra.pairs and not getattr(grid.extra, field)
    return grid is host or (host.extra is None and inherits)


def _named(specs: Sequence[str]) -> str:
    """Return the first specs in words."""
    more = f" and {len(specs) - MAX_NAMED} more" if len(specs) > MAX_NAMED else ""
    return f"{', '.join(specs[:MAX_NAMED])}{more}"
