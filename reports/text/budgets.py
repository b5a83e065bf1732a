"""The size of the models in words: what the plan asked for, and what each architecture has."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.format.numbers import amount, count, listed, plural, sizes
from results import Budget

Miss = tuple[Budget, int]
"""A budget, and what the model has instead."""


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
    lines: list[str] = []
    for arch in dict.fromkeys(group.arch for group in groups):
        settings: dict[Miss | None, list[Group]] = {}
        for group in groups:
            if group.arch == arch and group.records:
                for miss in dict.fromkeys(_misses(group)) or [None]:
                    settings.setdefault(miss, []).append(group)
        for miss, affected in settings.items():
            if miss is not None:
                where = f" on {_settings(affected)}" if len(settings) > 1 else ""
                lines.append(_sentence(arch, where, *miss))
    return lines


def _misses(group: Group) -> list[Miss]:
    """Return the missed budgets of a group's models, with what each model has instead."""
    misses = []
    for record in group.records:
        budget = record.case.budget
        if record.model is not None and budget is not None and not record.model.meets(budget):
            has = record.model.amount(budget.kind)
            assert has is not None
            misses.append((budget, has))
    return misses


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


def _settings(groups: Sequence[Group]) -> str:
    """Return the tasks and lengths of groups: `adding at 32 and 128 and copy_memory at 32`."""
    by_task: dict[str, list[int]] = {}
    for group in groups:
        by_task.setdefault(group.task, []).append(group.length)
    return listed([f"{task} at {listed([count(length) for length in lengths])}" for task, lengths in by_task.items()])


def _range(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{low:,}–{high:,}"
