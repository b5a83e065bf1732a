"""Ask a version which cases of a plan it has: under older names, and without architectures and tasks that it lacks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from bench.against.version_process import Description, VersionProcess
from bench.errors import NothingSelected, UsageError
from bench.plans.choice import choose, specs_of
from bench.plans.plan import Plan
from bench.runner.request import Request
from reports.format import listed
from results.comparison import new_name

MAX_COMBINED = 4
"""The largest number of renamed names of which all combinations of old and new ones are tried."""


def described_plan(
    executor: VersionProcess, request: Request, names: Mapping[str, str]
) -> tuple[Description, tuple[str, ...]]:
    """Return what the plan is in a version, and the architectures and tasks of the plan that the version lacks.

    The plan has the present names or, if the version does not know them, older ones. Its cases without what the version
    lacks remain.

    Args:
        executor: The executor of the version.
        request: What to measure, with the plugins of the version.
        names: New names of architectures and tasks by old ones.

    Raises `UsageError` if the version cannot run the plan under any of these names, or if no case remains.
    """
    plan = request.plan.model_copy(update={"renamed": {}})  # an older version may not know the field
    tried: dict[int, UsageError] = {}
    candidates = _distinct([plan, *older_plans(plan, names)])
    for index, candidate in enumerate(candidates):
        try:
            return executor.describe(candidate, device=request.device, plugins=request.plugins), ()
        except UsageError as error:
            tried[index] = error
    lacking = _lacking(executor, request, candidates)
    fewest = min(range(len(candidates)), key=lambda index: len(lacking[index]))
    if not lacking[fewest]:
        raise tried[fewest]
    latest = tuple(dict.fromkeys(new_name(spec, names) for spec in lacking[fewest]))
    try:
        remaining = _without(candidates[fewest], lacking[fewest])
    except NothingSelected:
        raise UsageError(
            f"{executor.version.name} lacks {listed(list(latest))}, and the plan has no other cases; choose another "
            f"base or, if it has an older name for {latest[0]}, add --rename OLD={latest[0]}"
        ) from None
    return executor.describe(remaining, device=request.device, plugins=request.plugins), latest


def older_plans(plan: Plan, names: Mapping[str, str]) -> Iterator[Plan]:
    """Yield a plan with some of its names replaced by older ones, in all combinations, the fewest first.

    `names` are new names by old ones. With more than `MAX_COMBINED` names, only all of them are replaced.
    """
    older = {new: old for old, new in names.items()}
    fewest = 1 if len(older) <= MAX_COMBINED else len(older)
    for count in range(fewest, len(older) + 1):
        for chosen in itertools.combinations(older.items(), count):
            yield _with_names(plan, dict(chosen))


def _with_names(plan: Plan, names: Mapping[str, str]) -> Plan:
    """Return a plan whose architectures and tasks have other names."""

    def renamed(specs: Sequence[str]) -> tuple[str, ...]:
        return tuple(new_name(spec, names) for spec in specs)

    override = tuple(
        each.model_copy(update={"archs": renamed(each.archs), "tasks": renamed(each.tasks)}) for each in plan.override
    )
    extra = tuple(
        each.model_copy(
            update={
                "archs": renamed(each.archs),
                "tasks": renamed(each.tasks),
                "pairs": tuple(pair.model_copy(update={"task": new_name(pair.task, names)}) for pair in each.pairs),
            }
        )
        for each in plan.extra
    )
    changes = {"archs": renamed(plan.archs), "tasks": renamed(plan.tasks), "override": override, "extra": extra}
    return plan.model_copy(update=changes)


def _distinct(plans: Sequence[Plan]) -> list[Plan]:
    return [plan for index, plan in enumerate(plans) if plan not in plans[:index]]


def _lacking(executor: VersionProcess, request: Request, plans: Sequence[Plan]) -> list[list[str]]:
    """Return the architectures and tasks of each plan that the version does not know."""
    of_plans = [specs_of(plan) for plan in plans]
    archs, tasks = (list(dict.fromkeys(spec for specs in of_plans for spec in specs[kind])) for kind in (0, 1))
    unknown = executor.lacking(archs, tasks, plugins=request.plugins)
    return [
        [spec for kind, specs in zip(unknown, of_plan, strict=True) for spec in specs if spec in kind]
        for of_plan in of_plans
    ]


def _without(plan: Plan, specs: Sequence[str]) -> Plan:
    """Return the cases of a plan without some architectures and tasks. Raises `NothingSelected` if none remain."""
    archs, tasks = specs_of(plan)
    return choose(
        plan,
        archs=[f"!{spec}" for spec in archs if spec in specs],
        tasks=[f"!{spec}" for spec in tasks if spec in specs],
        arch_names=lambda: archs,
        task_names=lambda: tasks,
    )
