"""Expand a plan into its cases, and check that each case is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.plans.plan import Plan
from results import Case, LengthRange, range_text

if TYPE_CHECKING:
    from tasks import Task


def cases(plan: Plan) -> list[Case]:
    """Return the cases of all grids of a plan, without duplicates.

    Raises `UsageError` if a spec or protocol is invalid, or if a size or length is impossible. Also raises `UsageError`
    if the data of a task are missing, or if a plugin raises any exception.
    """
    all_cases = [case for grid in plan.grids() for case in _cases_of_grid(grid)]
    return list({case.key: case for case in all_cases}.values())


def _cases_of_grid(plan: Plan) -> list[Case]:
    import arch
    import tasks
    from bench.plugins.sanity import describe_error, plugin_in_traceback
    from bench.plugins.torch_state import preserved
    from bench.training.model import check_model

    try:
        with preserved():
            archs = [arch.get(spec) for spec in plan.archs]
            built_tasks = [tasks.build(spec) for spec in plan.tasks]
            data_digests = [task.data_digest for task in built_tasks]
            for task in built_tasks:
                for length in plan.lengths:
                    task.check_length(length)
                    protocol = plan.protocol_of(str(task), length)
                    for tested_length in protocol.evaluate_at:
                        if isinstance(tested_length, int):
                            task.check_length(tested_length)
                    for lengths in protocol.evaluated_ranges():
                        _check_range(task, lengths)
                for each in archs:
                    check_model(each, task, depth=plan.depth, params=plan.params, width=plan.width)
    except ValueError as error:
        raise UsageError(str(error)) from None
    except Exception as error:
        plugin = plugin_in_traceback(error)
        if plugin is None:
            raise
        raise UsageError(f"the plugin {plugin[0]} fails: {describe_error(error, plugin[1])}") from None
    return [
        Case(
            arch=str(each),
            task=str(task),
            task_version=task.version,
            task_data=data_digest,
            length=length,
            depth=plan.depth,
            params=plan.params,
            width=plan.width,
            seed=seed,
            protocol=plan.protocol_of(str(task), length),
        )
        for task, data_digest in zip(built_tasks, data_digests, strict=True)
        for length in plan.lengths
        for seed in range(plan.seeds)
        for each in archs
    ]


def _check_range(task: Task, lengths: LengthRange) -> None:
    """Raise `UsageError` if a range of test lengths starts below the minimum of a task, or holds no possible length."""
    from bench.training.data import lengths_of_range

    text = range_text(lengths)
    if lengths[0] < task.min_length:
        raise UsageError(
            f"evaluate_at: the range '{text}' starts below the shortest length of {task}, {task.min_length} steps; "
            f"start it at {task.min_length} or later"
        )
    if not lengths_of_range(task, lengths):
        raise UsageError(f"evaluate_at: {task} supports no length in '{text}'; give another range")
