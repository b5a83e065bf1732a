"""The overview: the memory share and the costs of each architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group
from reports.analysis.memory_share import Setting, memory_evidence_of, shared_settings, shares_beyond_training
from reports.analysis.ranking import Estimate, ranks
from reports.analysis.streaming.step_costs import StepCost, cost_at, last_shared_position, ranked, step_costs_by_arch
from results import ScoreEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """The mean memory share, the step costs and the size of one architecture."""

    arch: str
    share: float
    """The mean memory share over the settings of `shared_settings`, at most 1. It is negative if scores are below the
    best score without memory."""
    low: float
    high: float
    """With `low`, the 95% interval of `share`. `low` can be negative, and `high` is at most 1."""
    using: int
    """The number of models, over all seeds and settings, whose own test sequences show that they use memory."""
    models: int
    """The number of models with a score, over all seeds and settings."""
    shows_memory: bool
    """Whether the scores of any setting show memory, by single seeds or on average."""
    ties: str
    """Letters; architectures that share a letter are statistically indistinguishable, or the worse one is undecided."""
    beyond: float | None
    """The mean memory share at `multiple` times the trained length; None if it was not measured everywhere."""
    beyond_high: float | None
    """The upper end of the 95% interval of `beyond`."""
    multiple: int | None
    costs: tuple[StepCost, ...]
    """The step costs by ascending position; empty if the architecture was not streamed."""
    has_ranked_cost: bool
    """Whether the step cost can be compared with that of other rows. False if only its calls from Python were timed,
    in a run with compiled architectures."""
    undecided: bool
    """Whether the architecture was still learning, and more training could change its rank."""
    possible_share: float
    """The highest mean memory share that more training could give; `share` if no seed was still learning."""
    parameters: int | None
    """The number of parameters of its largest model; None if no model is recorded."""
    compared_at: int | None = None
    """The last position at which all streamed rows were measured; None if there is none."""

    @property
    def cost(self) -> StepCost | None:
        """The step cost at the position `compared_at`; None if the architecture was not streamed.

        If the rows share no position, it is the cost at the last position of this row.
        """
        return cost_at(self.costs, self.compared_at) if self.costs else None

    @property
    def state_bytes(self) -> float | None:
        """The state of one stream at the position of `cost`; None if it was not measured."""
        return self.cost.state_bytes if self.cost else None

    @property
    def step_seconds(self) -> float | None:
        """The median step time at the position of `cost`; None if the architecture was not streamed."""
        return self.cost.p50_seconds if self.cost else None

    @property
    def growth(self) -> float | None:
        """The median step time at the position of `cost` divided by that at the first position.

        None if the architecture was not streamed, or if the time at the first position is 0.
        """
        first = self.costs[0].p50_seconds if self.costs else 0.0
        return self.cost.p50_seconds / first if self.cost and first else None


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
    sizes = _largest_models(groups)
    compared_at = last_shared_position([costs[arch] for arch in archs if arch in costs])
    evidences = _evidences(groups, shared)
    rows = []
    for arch, rank in ranks(overall).items():
        low, middle, high = overall[arch].interval()
        beyond = shares_beyond.get(arch)
        rows.append(
            OverviewRow(
                arch=arch,
                share=middle,
                low=low,
                high=min(high, 1.0),
                using=sum(evidence.using for evidence in evidences[arch]),
                models=sum(evidence.seeds for evidence in evidences[arch]),
                shows_memory=any(evidence.shows_past for evidence in evidences[arch]),
                ties=rank.ties,
                beyond=beyond.mean if beyond else None,
                beyond_high=beyond.interval().high if beyond else None,
                multiple=multiple,
                costs=tuple(costs.get(arch, ())),
                has_ranked_cost=arch in comparable,
                undecided=overall[arch].is_undecided,
                possible_share=min(1.0, middle + overall[arch].possible_rise),
                parameters=sizes.get(arch),
                compared_at=compared_at,
            )
        )
    return rows


def unscored_rows(groups: Sequence[Group]) -> list[OverviewRow]:
    """Return one row per streamed architecture of a run without any memory share, cheapest step first.

    Its memory share is 0. The list is empty if `shared_settings(groups)` is not.
    """
    if shared_settings(groups):
        return []
    costs = step_costs_by_arch(groups)
    comparable, sizes = ranked(costs), _largest_models(groups)
    compared_at = last_shared_position(list(costs.values()))
    rows = [
        OverviewRow(
            arch=arch,
            share=0.0,
            low=0.0,
            high=0.0,
            using=0,
            models=0,
            shows_memory=False,
            ties="",
            beyond=None,
            beyond_high=None,
            multiple=None,
            costs=tuple(own),
            has_ranked_cost=arch in comparable,
            undecided=False,
            possible_share=0.0,
            parameters=sizes.get(arch),
            compared_at=compared_at,
        )
        for arch, own in costs.items()
    ]
    return sorted(rows, key=lambda row: (row.step_seconds or 0.0, row.arch))


def _evidences(
    groups: Sequence[Group], shared: Mapping[Setting, Mapping[str, Estimate]]
) -> dict[str, list[ScoreEvidence]]:
    """Return what the memory shares in each of the shared settings show, by architecture."""
    evidences: dict[str, list[ScoreEvidence]] = {}
    for group in groups:
        if group.arch in shared.get((group.task, group.length), {}):
            evidence = memory_evidence_of(group)
            assert evidence is not None  # otherwise the setting would not be shared
            evidences.setdefault(group.arch, []).append(evidence)
    return evidences


def _largest_models(groups: Sequence[Group]) -> dict[str, int]:
    """Return the largest number of parameters of any model, by architecture."""
    sizes: dict[str, int] = {}
    for group in groups:
        for record in group.records:
            if record.model is not None:
                sizes[group.arch] = max(sizes.get(group.arch, 0), record.model.parameters)
    return sizes
