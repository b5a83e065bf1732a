"""Expand a plan into its cases, and check each of them."""

from __future__ import annotations

from bench.errors import UsageError
from bench.plans.plan import Plan
from results import Case


def cases(plan: Plan) -> list[Case]:
    """The plan's grids, every case checked: that its task can be asked, and that its model can be built.

    Raises `UsageError` for an unknown name, a wrong option or an impossible size.
    """
    found = [case for grid in plan.grids() for case in _grid(grid)]
    return list({case.key: case for case in found}.values())


def _grid(plan: Plan) -> list[Case]:
    import arch
    import tasks
    from bench.training.model import check_model

    found = []
    try:
        archs = [arch.get(spec) for spec in plan.archs]
        built = [tasks.build(spec) for spec in plan.tasks]
        digests = [task.data_digest for task in built]
        for task in built:
            for length in plan.lengths:
                task.check_length(length)
                for at in plan.protocol_of(str(task), length).evaluate_at:
                    if isinstance(at, int):
                        task.check_length(at)
            for a in archs:
                check_model(a, task, depth=plan.depth, params=plan.params, width=plan.width)
    except ValueError as error:
        raise UsageError(str(error)) from None
    for task, data in zip(built, digests, strict=True):
        for length in plan.lengths:
            for seed in range(plan.seeds):
                found += [
                    Case(
                        arch=str(a),
                        task=str(task),
                        task_version=task.version,
                        task_data=data,
                        length=length,
                        depth=plan.depth,
                        params=plan.params,
                        width=plan.width,
                        seed=seed,
                        protocol=plan.protocol_of(str(task), length),
                    )
                    for a in archs
                ]
    return found
