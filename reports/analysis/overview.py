"""The overview: memory shares and step costs per architecture, and the architecture chosen for streaming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group
from reports.analysis.memory_share import CLEAR_SHARE, shared_settings, shares_beyond_training
from reports.analysis.ranking import Estimate, ranks
from reports.analysis.step_costs import StepCost, ranked, step_costs_by_arch

NEARLY_BEST = 0.1
"""The largest distance to the best memory share at which an architecture can still be chosen for its cheap step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """The mean memory share and the step costs of one architecture."""

    arch: str
    share: float
    """The mean memory share over the settings of `shared_settings`."""
    low: float
    high: float
    """With `low`, the 95% interval of `share`."""
    ties: str
    """Letters; architectures that share a letter are statistically indistinguishable, or the worse one is undecided."""
    beyond: float | None
    """The mean memory share at `multiple` times the trained length; None if it was not measured everywhere."""
    multiple: int | None
    costs: tuple[StepCost, ...]
    """The step costs by ascending position; empty if the architecture was not streamed."""
    has_ranked_cost: bool
    """Whether the step cost can be compared with that of other rows. False if only its calls from Python were timed,
    in a run with compiled architectures."""
    chosen: bool
    """Whether this architecture is recommended for streaming."""
    undecided: bool
    """Whether the architecture was still learning, and more training could change its rank."""
    prevents_choice: bool
    """Whether the architecture is undecided, and the choice would rest on it or could change with more training."""

    @property
    def cost(self) -> StepCost | None:
        """The step cost at the last streamed position; None if the architecture was not streamed."""
        return self.costs[-1] if self.costs else None

    @property
    def growth(self) -> float | None:
        """The median step time at the last position divided by that at the first position.

        None if the architecture was not streamed, or if the time at the first position is 0.
        """
        first = self.costs[0].p50_seconds if self.costs else 0.0
        return self.costs[-1].p50_seconds / first if first else None


def overview_rows(groups: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[OverviewRow]:
    """Return one row per architecture of `shared_settings(groups)`, highest memory share first.

    The list is empty if `shared_settings(groups)` is empty. If `costs` is None, it is computed as
    `step_costs_by_arch(groups)`.
    """
    shared = shared_settings(groups)
    if not shared:
        return []
    archs = next(iter(shared.values()))
    overall = {arch: Estimate.over([row[arch] for row in shared.values()]) for arch in archs}
    multiple, shares_beyond = shares_beyond_training(groups, shared)
    costs = step_costs_by_arch(groups) if costs is None else costs
    comparable = ranked(costs)
    chosen = _chosen(overall, comparable)
    preventing = _preventing(chosen, overall, comparable)
    rows = []
    for arch, rank in ranks(overall).items():
        low, middle, high = overall[arch].interval()
        rows.append(
            OverviewRow(
                arch=arch,
                share=middle,
                low=max(low, 0.0),
                high=min(high, 1.0),
                ties=rank.ties,
                beyond=shares_beyond.get(arch),
                multiple=multiple,
                costs=tuple(costs.get(arch, ())),
                has_ranked_cost=arch in comparable,
                chosen=arch == chosen and not preventing,
                undecided=overall[arch].is_undecided,
                prevents_choice=arch in preventing,
            )
        )
    return rows


def _chosen(overall: dict[str, Estimate], costs: dict[str, list[StepCost]]) -> str | None:
    """Return the eligible architecture with the lowest median step time at its last position.

    `costs` holds comparable costs only. An architecture with such costs is eligible if its memory share meets two
    conditions:

    - The share is at least that of `_least_share`.
    - The interval of the share lies above 0.

    Returns None if fewer than two architectures have such costs, or if no architecture is eligible.
    """
    streamed = {arch: estimate for arch, estimate in overall.items() if arch in costs}
    if len(streamed) < 2:
        return None
    least = _least_share(streamed)
    eligible = [arch for arch, estimate in streamed.items() if estimate.mean >= least and estimate.interval().low > 0]
    return min(eligible, key=lambda arch: costs[arch][-1].p50_seconds, default=None)


def _preventing(chosen: str | None, overall: dict[str, Estimate], costs: dict[str, list[StepCost]]) -> frozenset[str]:
    """Return the undecided architectures that prevent a choice: the choice rests on them, or they could change it.

    More training could raise the memory share of an undecided architecture by its possible rise. It could then be
    eligible at a lower cost than the chosen one, or leave the chosen one too far below the highest share.

    Args:
        chosen: The architecture that would be chosen at the present shares.
        overall: The memory shares by architecture.
        costs: The comparable step costs by architecture.
    """
    streamed = {arch: estimate for arch, estimate in overall.items() if arch in costs}
    if len(streamed) < 2:
        return frozenset()
    least = _least_share(streamed)

    def could_change_it(arch: str) -> bool:
        highest = streamed[arch].mean + streamed[arch].possible_rise
        if chosen is None:
            return highest >= least
        is_cheaper = costs[arch][-1].p50_seconds < costs[chosen][-1].p50_seconds
        return (is_cheaper and highest >= least) or highest - NEARLY_BEST > streamed[chosen].mean

    return frozenset(
        arch
        for arch, estimate in streamed.items()
        if estimate.is_undecided and (arch == chosen or could_change_it(arch))
    )


def _least_share(streamed: dict[str, Estimate]) -> float:
    """Return the smallest eligible memory share.

    It is `NEARLY_BEST` below the highest share of an architecture with comparable costs, but at least `CLEAR_SHARE`.
    """
    return max(CLEAR_SHARE, max(estimate.mean for estimate in streamed.values()) - NEARLY_BEST)
