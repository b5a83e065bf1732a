"""One overview row per architecture, and the choice that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group
from reports.analysis.memory_share import CLEAR_SHARE, shared_settings, shares_beyond_training
from reports.analysis.ranking import Estimate, ranks
from reports.analysis.step_costs import StepCost, step_costs_by_arch

NEARLY_BEST = 0.1
"""The cheapest step is chosen among the architectures that remember at most this much less than the best of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """One architecture over all settings."""

    arch: str
    share: float
    low: float
    high: float
    ties: str
    beyond: float | None
    """The share at `multiple` times the trained length."""
    multiple: int | None
    costs: tuple[StepCost, ...]
    """By ascending position; empty where it was not streamed."""
    chosen: bool

    @property
    def cost(self) -> StepCost | None:
        """At the longest streamed position."""
        return self.costs[-1] if self.costs else None

    @property
    def growth(self) -> float | None:
        """That cost over the cost at the first position."""
        first = self.costs[0].p50_seconds if self.costs else 0.0
        return self.costs[-1].p50_seconds / first if first else None


def overview_rows(found: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[OverviewRow]:
    """One row an architecture, the most remembered first; empty where no setting is shared.

    What steps cost is worked out where it is not at hand.
    """
    shared = shared_settings(found)
    if not shared:
        return []
    archs = next(iter(shared.values()))
    overall = {arch: Estimate.over([row[arch] for row in shared.values()]) for arch in archs}
    multiple, kept = shares_beyond_training(found, shared)
    costs = step_costs_by_arch(found) if costs is None else costs
    chosen = _chosen(overall, costs)
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
                beyond=kept.get(arch),
                multiple=multiple,
                costs=tuple(costs.get(arch, ())),
                chosen=arch == chosen,
            )
        )
    return rows


def _chosen(overall: dict[str, Estimate], costs: dict[str, list[StepCost]]) -> str | None:
    """The cheapest step among those of the streamed architectures that remember nearly as much as the best."""
    streamed = {arch: estimate for arch, estimate in overall.items() if arch in costs}
    if len(streamed) < 2:
        return None
    best = max(estimate.mean for estimate in streamed.values())
    kept = [
        arch
        for arch, estimate in streamed.items()
        if estimate.mean >= max(CLEAR_SHARE, best - NEARLY_BEST) and estimate.interval().low > 0
    ]
    return min(kept, key=lambda arch: costs[arch][-1].p50_seconds, default=None)
