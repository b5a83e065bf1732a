"""Expand a plan into its cases, and check that each case is possible."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.plans.plan import Plan
from bench.plugins.source_files import forgotten_files
from results import Case, LengthRange, range_text

if TYPE_CHECKING:
    from tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """A reported case of a plan."""

    case: Case
    rate_found_by: str | None
    """The run that found the fixed learning rate of the case, in the words of the plan; None if it does not say."""


def cases(plan: Plan) -> list[Case]:
    """Return the cases of all grids of a plan, without duplicates. Tuning cases come before the reported ones.

    Raises `UsageError` if a spec or protocol is invalid, or if a size or length is impossible. Also raises `UsageError`
    if the data of a task are missing, or if a plugin raises any exception.
    """
    reported = [planned.case for planned in reported_cases(plan)]
    settings = dict.fromkeys(case.setting for case in reported)
    tuning = {case.key: case for setting in settings for case in setting.tuning_cases()}
    return [*tuning.values(), *reported]


def reported_cases(plan: Plan) -> list[PlannedCase]:
    """Return the reported cases of all grids of a plan, without duplicates. Raises the same errors as `cases`."""
    planned = [each for grid in plan.grids() for each in _cases_of_grid(grid)]
    return list({each.case.key: each for each in planned}.values())


def rates_found_by(plan: Plan) -> dict[str, str]:
    """Return which run found the learning rate of a case, by case key.

    Cases for which the plan does not say so are omitted. Raises the same errors as `cases`.
    """
    if all(override.found_by is None for override in plan.override):
        return {}
    return {each.case.key: each.rate_found_by for each in reported_cases(plan) if each.rate_found_by is not None}


def _cases_of_grid(plan: Plan) -> list[PlannedCase]:
    import arch
    import tasks
    from bench.plugins.sanity import blame_plugin
    from bench.plugins.torch_state import preserved
    from bench.training.model import check_model

    if not plan.archs:
        return []
    try:
        with preserved():
            archs = [arch.get(spec) for spec in plan.archs]
            built_tasks = [tasks.build(spec) for spec in plan.tasks]
            data_digests = [task.data_digest for task in built_tasks]
            for task, data_digest in zip(built_tasks, data_digests, strict=True):
                if not isinstance(data_digest, str | None):
                    raise UsageError(f"{task}: data_digest is {data_digest!r}; return a text or None")
            for spec, task in zip(plan.tasks, built_tasks, strict=True):
                for length in plan.lengths:
                    task.check_length(length)
                    protocols = [plan.protocol_of(each, spec, length) for each in plan.archs]
                    for tested_length in {at for protocol in protocols for at in protocol.evaluate_at}:
                        if isinstance(tested_length, int):
                            task.check_length(tested_length)
                    for lengths in {each for protocol in protocols for each in protocol.evaluated_ranges()}:
                        _check_range(task, lengths, "evaluate_at")
                    for lengths in filter(None, {protocol.training_range() for protocol in protocols}):
                        _check_range(task, lengths, "train_lengths")
                    for each in archs:
                        check_model(each, task, length=length, depth=plan.depth, budget=plan.budgets[0])
    except ValueError as error:
        raise UsageError(f"{error}{forgotten_files([*plan.archs, *plan.tasks], error)}") from None
    except Exception as error:
        blame = blame_plugin(error)
        if blame is None:
            raise
        raise UsageError(blame) from None
    planned = []
    for task_spec, task, data_digest in zip(plan.tasks, built_tasks, data_digests, strict=True):
        for length, seed in itertools.product(plan.lengths, range(plan.seeds)):
            for arch_spec, each in zip(plan.archs, archs, strict=True):
                case = Case(
                    arch=str(each),
                    task=str(task),
                    task_version=task.version,
                    task_data=data_digest,
                    length=length,
                    depth=plan.depth,
                    params=plan.params,
                    params_of=plan.params_of if plan.params is not None else "model",
                    width=plan.width,
                    state=plan.state,
                    step_flops=plan.step_flops,
                    seed=seed,
                    protocol=plan.protocol_of(arch_spec, task_spec, length),
                    tuning=plan.tuning,
                )
                found_by = plan.rate_found_by(arch_spec, task_spec, length)
                planned.append(PlannedCase(case=case, rate_found_by=found_by))
    return planned


def _check_range(task: Task, lengths: LengthRange, field: str) -> None:
    """Raise `UsageError` if a range of lengths starts below the minimum of a task, or holds no possible length.

    `field` is the field of the protocol that gives the range.
    """
    from bench.training.data import lengths_of_range

    text = range_text(lengths)
    if lengths[0] < task.min_length:
        raise UsageError(
            f"{field}: the range '{text}' starts below the shortest length of {task}, {task.min_length} steps; "
            f"start it at {task.min_length} or later"
        )
    if not lengths_of_range(task, lengths):
        raise UsageError(f"{field}: {task} supports no length in '{text}'; give another range")
