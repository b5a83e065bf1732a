"""The data of a report page, each part computed at most once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reports.analysis.frontier import Frontier, Needs, frontier
from reports.analysis.groups import Group, group_cases
from reports.analysis.health import Health, health
from reports.analysis.learning_rates import RateRow, rate_rows
from reports.analysis.overview import OverviewRow, overview_rows
from reports.analysis.streaming.step_costs import StepCost, step_costs_by_arch
from reports.analysis.trainings import alternative_trainings
from reports.figures.drawing.canvas import Figure
from reports.figures.frontier import frontier_figure
from reports.figures.headline import headline_figures
from reports.text.baseline import Baseline, BaselineComparison, compare_with_baseline
from results import Record, RunFile, Traces


@dataclass(frozen=True, kw_only=True)
class PageData:
    """A run, its records, and the results that several sections of the page share.

    The class has no slots because `cached_property` needs a `__dict__`.
    """

    run: RunFile
    records: Sequence[Record]
    traces: Mapping[str, Traces]
    """Traces of gates and attention, by case key."""
    baseline: Baseline | None
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why a record of the run cannot be used, by case key."""
    needs: Needs = field(default_factory=Needs)
    """The limits of the reader, to which the page gives an answer."""

    @cached_property
    def groups(self) -> list[Group]:
        """All groups of the run."""
        return group_cases(self.run, self.records, self.unusable)

    @cached_property
    def rate_rows(self) -> list[RateRow]:
        """The learning rate of each group, in the order of `groups`."""
        return rate_rows(self.groups, self.records)

    @cached_property
    def health(self) -> Health:
        """Counts of cases by outcome, and the problems of cases."""
        return health(self.groups, finished=self.run.finished is not None)

    @cached_property
    def variants(self) -> list[Group]:
        """Groups whose training differs from the plain training of the same model, for example by dropout."""
        return alternative_trainings(self.groups)

    @cached_property
    def plain_groups(self) -> list[Group]:
        """All groups except those in `variants`."""
        return [group for group in self.groups if not any(group is variant for variant in self.variants)]

    @cached_property
    def step_costs(self) -> dict[str, list[StepCost]]:
        """The step costs of each streamed architecture, by its label."""
        return step_costs_by_arch(self.groups)

    @property
    def is_called(self) -> bool:
        """Whether steps were streamed, but none inside a compiled loop: all costs are of calls from Python."""
        timings = {costs[-1].timing for costs in self.step_costs.values()}
        return bool(timings) and "compiled" not in timings

    @cached_property
    def overview(self) -> list[OverviewRow]:
        """One row per compared architecture; empty if the architectures share no setting."""
        return overview_rows(self.groups, self.step_costs)

    @cached_property
    def frontier(self) -> Frontier:
        """The architectures to choose from, and those that no other beats."""
        return frontier(self.groups, self.overview)

    @cached_property
    def headline_figures(self) -> tuple[Figure | None, Figure | None]:
        """The first figure of scores and a detailed one. Each is None if it is not drawn."""
        return headline_figures(self.groups)

    @cached_property
    def main_figure(self) -> Figure | None:
        """The figure beside the overview: memory share against costs, or scores if nothing was streamed."""
        return frontier_figure(self.groups, self.overview, self.frontier) or self.headline_figures[0]

    @cached_property
    def comparison(self) -> BaselineComparison | None:
        """The comparison with the baseline run; None without a baseline run."""
        if self.baseline is None:
            return None
        return compare_with_baseline(self.run, self.records, self.groups, self.baseline, self.unusable)
