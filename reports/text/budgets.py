"""The size of the models in words: what the plan asked for, and what each architecture has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reports.analysis.groups import Group
from reports.format.numbers import amount, count, listed, plural, sizes
from results import Budget, Case, Model

Miss = tuple[Budget, int]
"""A budget, and what the model has instead."""
Setting = tuple[str, int]
"""A task and a length."""


def budget(groups: Sequence[Group]) -> str:
    """Return the requested model sizes: `20,000 parameters, 2 layers`. The text is empty without cases."""
    cases = [seed.case for group in groups for seed in group.seeds]
    depths = sorted({case.depth for case in cases})
    budgets = sorted({case.budget for case in cases if case.budget is not None})
    requested = [amount(budget.kind, budget.amount) for budget in budgets]
    return f"{listed(requested)}, {listed([plural(depth, 'layer') for depth in depths])}" if requested else ""


def model_sizes(groups: Sequence[Group]) -> dict[str, str]:
    """Return the actual model sizes by architecture: `width 40, 20,003 parameters, 640 B of state`.

    The state is that of one stream at the trained length, and the FLOPs are those of one step there. Records of older
    runs lack both. Architectures without a recorded model are left out.
    """
    table: dict[str, str] = {}
    for arch in dict.fromkeys(group.arch for group in groups):
        own = [group for group in groups if group.arch == arch]
        models = [record.model for group in own for record in group.records if record.model is not None]
        if models:
            widths, parameters = ({model.width for model in models}, {model.parameters for model in models})
            parts = [f"width {_range(widths)}", f"{_range(parameters)} parameters"]
            if states := {model.state_bytes for model in models if model.state_bytes is not None}:
                parts.append(f"{sizes(states)} of state")
            if flops := {model.step_flops for model in models if model.step_flops is not None}:
                parts.append(f"{_range(flops)} FLOPs per step")
            table[arch] = ", ".join(parts)
    return table


def missed_budgets(groups: Sequence[Group]) -> list[str]:
    """Return one sentence per architecture and size that misses the budget by more than `results.BUDGET_TOLERANCE`.

    Example: `gru has 5.2 KiB of state, 30% over the budget of 4 KiB.` Tasks and lengths are named if the architecture
    does not have this size on all of them.
    """
    return _lines(
        (group.arch, (group.task, group.length), [_miss(record.case, record.model) for record in group.records])
        for group in groups
        if group.records
    )


def planned_misses(models: Iterable[tuple[Case, Model]]) -> list[str]:
    """Return the same sentences as `missed_budgets` for models that are still to be trained.

    `models` has one case per architecture, task and length, each with the size of its model.
    """
    return _lines((case.arch, (case.task, case.length), [_miss(case, model)]) for case, model in models)


def _lines(sizes: Iterable[tuple[str, Setting, Sequence[Miss | None]]]) -> list[str]:
    """Return one sentence per architecture and missed budget.

    `sizes` contains architectures, settings and, for each model of a setting, its missed budget, if any.
    """
    by_arch: dict[str, dict[Miss | None, list[Setting]]] = {}
    for arch, setting, misses in sizes:
        for miss in dict.fromkeys(filter(None, misses)) or [None]:
            by_arch.setdefault(arch, {}).setdefault(miss, []).append(setting)
    return [
        _sentence(arch, f" on {_settings(affected)}" if len(settings) > 1 else "", *miss)
        for arch, settings in by_arch.items()
        for miss, affected in settings.items()
        if miss is not None
    ]


def _miss(case: Case, model: Model | None) -> Miss | None:
    """Return the budget of a case that its model misses, with what the model has instead, or None."""
    if model is None or case.budget is None or model.meets(case.budget):
        return None
    has = model.amount(case.budget.kind)
    assert has is not None
    return case.budget, has


def _sentence(arch: str, where: str, budget: Budget, has: int) -> str:
    """Compare what a model has with its budget.

    Args:
        arch: The label of the architecture.
        where: The tasks and lengths, such as ` on adding at 32`, or an empty text.
        budget: The missed budget.
        has: What the model has, in the unit of the budget.
    """
    side = "over" if has > budget.amount else "under"
    share = abs(has - budget.amount) / budget.amount
    wanted = amount(budget.kind, budget.amount)
    budget_text = wanted.removesuffix(" of state")
    return f"{arch} has {amount(budget.kind, has)}{where}, {share:.0%} {side} the budget of {budget_text}."


def _settings(settings: Sequence[Setting]) -> str:
    """Return tasks and lengths as text: `adding at 32 and 128 and copy_memory at 32`."""
    by_task: dict[str, list[int]] = {}
    for task, length in settings:
        by_task.setdefault(task, []).append(length)
    return listed([f"{task} at {listed([count(length) for length in lengths])}" for task, lengths in by_task.items()])


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{low:,}–{high:,}"
