"""Rows of the leaderboard: scores, ranks, sizes and step costs per architecture, task and length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.analysis.convergence import is_undecided, learning_seeds, possible_rise
from reports.analysis.groups import Group, RateSource, group_cases
from reports.analysis.health import problems_of
from reports.analysis.memory_share import (
    effective_length_of,
    loss_evidence_of,
    range_share,
    score_evidence_of,
)
from reports.analysis.ranking import Estimate, Rank, ranks
from reports.analysis.streaming.step_costs import (
    StepCost,
    StepTiming,
    any_compiled,
    nearest,
    step_costs,
    step_costs_by_arch,
)
from reports.analysis.streaming.step_needs import step_needs
from reports.analysis.training_outcome import early_stopped_scores, sequences_until_solved, validation_scores
from results import (
    BudgetKind,
    EffectiveLength,
    Interval,
    LengthRange,
    LossEvidence,
    Record,
    ReferenceScores,
    RunFile,
    ScoreEvidence,
    interval_of_mean,
    interval_of_scores,
    range_text,
    score_variance,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeScore:
    """The mean score over a range of test lengths."""

    lengths: str
    """The range as a plan writes it, such as `40..256`."""
    score: float
    """The mean score over seeds."""
    low: float | None
    """With `high`, the 95% interval of the mean score; for a single seed, that of its test set."""
    high: float | None
    share: float | None
    """The mean memory share over seeds; None if it is undefined."""
    share_high: float | None
    """The upper end of the interval of the memory share; None if it is undefined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyLine:
    """A partial strategy for a task, with what it reaches at one length. See `results.StrategyScore`."""

    name: str
    score: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """The results of one architecture on one task at one length. Fields without a measurement are None."""

    arch: str
    """The short label of the architecture, as in tables and figures."""
    arch_spec: str
    """The architecture in full, with all its options."""
    differs: str
    """In what else the row differs from others of the run, such as `batch=8`; empty if in nothing."""
    task: str
    """The short label of the task."""
    task_spec: str
    """The task in full, with all its options."""
    length: int
    trained: bool
    """Whether the models were trained. If not, their initial weights were timed, and they have no scores."""
    score: float | None
    """The mean score over seeds at the trained length."""
    score_low: float | None
    score_high: float | None
    """With `score_low`, the 95% interval of the mean score; for a single seed, that of its test set."""
    rank_first: int | None
    """The best rank on this task and length that the seeds allow; None with fewer than two scored seeds."""
    rank_last: int | None
    """The worst rank that the seeds allow; None with fewer than two scored seeds."""
    ties: str | None
    """Letters: architectures that share a letter are statistically indistinguishable, or the worse one is undecided.
    None without a rank."""
    seed_scores: tuple[float, ...]
    validation_score: float | None
    """The mean score of the last validations."""
    early_stopped_score: float | None
    """The mean test score of the weights with the best validation score; None unless the protocol keeps them."""
    early_stopped_low: float | None
    early_stopped_high: float | None
    """With `early_stopped_low`, the 95% interval of this mean; for a single seed, that of its test set."""
    chance: float | None
    memoryless_score: float | None
    strategies: tuple[StrategyLine, ...]
    """Partial strategies for the task with their scores at the trained length."""
    range_scores: tuple[RangeScore, ...]
    """The scores over ranges of test lengths, ascending."""
    effective: EffectiveLength | None
    """The effective length; None without scores, or if it is undefined."""
    evidence: ScoreEvidence | None
    """What the scores at the trained length show; None without scores or reference scores."""
    loss: LossEvidence | None
    """The test loss at the trained length and what it shows; None if it was not measured."""
    seeds: int
    """The number of seeds, including failed and missing ones."""
    solved: int
    """The number of seeds that solved the task."""
    stopped_unsolved: int
    """The number of scored seeds that stopped early because validation solved the task, but whose test score does not
    solve it."""
    until_solved_seeds: int
    """The number of seeds of which a validation reached the bar of their protocol, `solved_at`."""
    sequences_until_solved: float | None
    """The mean number of training sequences until then, over these seeds."""
    sequences_until_solved_low: float | None
    sequences_until_solved_high: float | None
    """With `sequences_until_solved_low`, the 95% interval of this mean."""
    learning_rate: float | None
    """The learning rate of the trained seeds; None if there is none, or if they differ."""
    learning_rate_source: RateSource | None
    """Whether the plan gave the rate, or tuning chose it; None if no seed was trained."""
    learning_rate_found_by: str | None
    """The run that found the rate, in the words of the plan; None if the plan does not say so."""
    still_learning: int
    """The number of scored seeds that were still learning when their training ended."""
    undecided: bool
    """Whether more training could raise the mean score enough to change the rank."""
    parameters: int | None
    width: int | None
    budget: BudgetKind | None
    """The kind of size that the plan asked for; None if the group asked for none or for several."""
    budget_amount: int | None
    budget_excess: float | None
    """What the model has, relative to the budget: 0.3 for 30% over it, -0.3 for 30% under it."""
    trained_state_bytes: int | None
    """The state size of one stream in bytes at the trained length."""
    trained_step_flops: int | None
    """The FLOPs of one step at the trained length."""
    state_bytes: float | None
    """The state size of one stream in bytes at `far_position`."""
    step_flops: float | None
    """The FLOPs of one step at `far_position`; None if the architecture states none."""
    step_bytes: float | None
    """The bytes that one step at `far_position` reads and writes; None if the architecture states none."""
    weight_bytes: float | None
    """The bytes of the weights and buffers."""
    step_timing: StepTiming | None
    """How the steps were timed. Costs are comparable only between rows with equal values."""
    near_position: int | None
    """The streamed position whose ratio to `length` is closest to 1 on a logarithmic scale."""
    near_step_seconds: float | None
    far_position: int | None
    """The last streamed position."""
    far_step_seconds: float | None
    far_step_p99_seconds: float | None
    far_call_seconds: float | None
    """The median time of a call of the step from Python at `far_position`."""
    limit_share: float | None
    """The share of the roofline limit that the compiled step reaches at `far_position`."""
    problems: tuple[str, ...]

    @property
    def scored(self) -> int:
        """The number of seeds with a score."""
        return len(self.seed_scores)


def leaderboard(run: RunFile, records: Sequence[Record]) -> list[LeaderboardRow]:
    """Return one row per task, length and architecture.

    Rows are sorted by task, in the order of the plan. Rows of a task are sorted by ascending length. Rows of a task and
    length are sorted from best to worst score. Rows without a score come last. Of equal scores, the cheaper step comes
    first, and interpreted steps come after compiled ones.
    """
    return leaderboard_of(group_cases(run, records))


def leaderboard_of(groups: Sequence[Group]) -> list[LeaderboardRow]:
    """Return the same rows as `leaderboard`, given the groups of a run."""
    references = {(group.task, group.length): scores for group in groups if (scores := group.reference()) is not None}
    ranks_of = ranks_by_setting(groups)
    beside_compiled = any_compiled(groups)
    rows = [
        _row(
            group,
            references.get((group.task, group.length)),
            ranks_of[group.task, group.length].get(group.arch),
            beside_compiled=beside_compiled,
        )
        for group in groups
    ]
    task_order = {task: number for number, task in enumerate(dict.fromkeys(row.task for row in rows))}
    return sorted(
        rows,
        key=lambda row: (
            task_order[row.task],
            row.length,
            math.inf if row.score is None else -row.score,
            row.step_timing == "interpreted",
            math.inf if row.far_step_seconds is None else row.far_step_seconds,
        ),
    )


def streaming(run: RunFile, records: Sequence[Record]) -> dict[str, list[StepCost]]:
    """Return the step costs of each streamed architecture, by its label. Each list is sorted by ascending position."""
    return step_costs_by_arch(group_cases(run, records))


def ranks_by_setting(groups: Sequence[Group], *, as_trained: bool = False) -> dict[tuple[str, int], dict[str, Rank]]:
    """Return the ranks by task and length, then by architecture.

    Architectures with fewer than two scored seeds are left out. With `as_trained`, architectures are ranked by their
    scores as they are, whether or not more training could raise them.
    """
    by_setting: dict[tuple[str, int], dict[str, Estimate]] = {}
    for group in groups:
        estimates = by_setting.setdefault((group.task, group.length), {})
        if len(scores := group.scores()) > 1:
            test_variance = fmean(score_variance(score, group.test_sequences()) for score in scores)
            estimates[group.arch] = Estimate.of(scores, 0.0 if as_trained else possible_rise(group), test_variance)
    return {setting: ranks(estimates) for setting, estimates in by_setting.items()}


def _row(
    group: Group, reference: ReferenceScores | None, rank: Rank | None, *, beside_compiled: bool
) -> LeaderboardRow:
    """Return the row of a group.

    Args:
        group: The seeds of one architecture on one task at one length.
        reference: The reference scores of the task and length; None if they are unknown.
        rank: The rank among the architectures on the task and length; None if it has none.
        beside_compiled: Whether any architecture of the run was timed inside a compiled loop.
    """
    scores = group.scores()
    low = middle = high = None
    if scores:
        interval = group.interval()
        middle, (low, high) = interval.middle, bounds(interval, floor=0.0, ceiling=1.0)
    validation, _, _ = _mean(validation_scores(group), ceiling=1.0)
    stopped, stopped_low, stopped_high = _early_stopped(group)
    until_solved = sequences_until_solved(group)
    sequences, sequences_low, sequences_high = _mean(until_solved)
    models = [record.model for record in group.records if record.model is not None]
    budgets = {seed.case.budget for seed in group.seeds}
    budget = budgets.pop() if len(budgets) == 1 else None
    has = None if budget is None else _shared(model.amount(budget.kind) for model in models)
    costs = step_costs(group.seeds, beside_compiled=beside_compiled)
    near, far = (nearest(costs, group.length), costs[-1]) if costs else (None, None)
    needs = step_needs(group.records, far.position if far else None)
    return LeaderboardRow(
        arch=group.arch,
        arch_spec=group.seeds[0].case.arch,
        differs=group.differs,
        task=group.task,
        task_spec=group.seeds[0].case.task,
        length=group.length,
        trained=group.trains,
        score=middle,
        score_low=low,
        score_high=high,
        rank_first=rank.first if rank else None,
        rank_last=rank.last if rank else None,
        ties=rank.ties if rank else None,
        seed_scores=tuple(scores),
        validation_score=validation,
        early_stopped_score=stopped,
        early_stopped_low=stopped_low,
        early_stopped_high=stopped_high,
        chance=reference.chance if reference else None,
        memoryless_score=reference.memoryless_score if reference else None,
        strategies=_strategies(reference),
        range_scores=tuple(_range_score(group, lengths) for lengths in group.evaluated_ranges()),
        effective=effective_length_of(group),
        evidence=score_evidence_of(group),
        loss=loss_evidence_of(group),
        seeds=len(group.seeds),
        solved=sum(seed.solved for seed in group.seeds),
        stopped_unsolved=sum(seed.stopped_unsolved for seed in group.seeds),
        until_solved_seeds=len(until_solved),
        sequences_until_solved=sequences,
        sequences_until_solved_low=sequences_low,
        sequences_until_solved_high=sequences_high,
        learning_rate=group.learning_rates[0] if len(group.learning_rates) == 1 else None,
        learning_rate_source=group.rate_source,
        learning_rate_found_by=group.rate_found_by,
        still_learning=len(learning_seeds(group)),
        undecided=is_undecided(group),
        parameters=_shared(model.parameters for model in models),
        width=_shared(model.width for model in models),
        budget=budget.kind if budget else None,
        budget_amount=budget.amount if budget else None,
        budget_excess=has / budget.amount - 1 if budget and has is not None else None,
        trained_state_bytes=_shared(model.state_bytes for model in models),
        trained_step_flops=_shared(model.step_flops for model in models),
        state_bytes=_whole(far.state_bytes) if far else None,
        step_flops=_whole(needs.flops),
        step_bytes=_whole(needs.moved_bytes),
        weight_bytes=_whole(needs.weight_bytes),
        step_timing=far.timing if far else None,
        near_position=near.position if near else None,
        near_step_seconds=near.p50_seconds if near else None,
        far_position=far.position if far else None,
        far_step_seconds=far.p50_seconds if far else None,
        far_step_p99_seconds=far.p99_seconds if far else None,
        far_call_seconds=far.call_seconds if far else None,
        limit_share=far.limit_share if far else None,
        problems=tuple(problem.brief for problem in problems_of(group)),
    )


def _strategies(reference: ReferenceScores | None) -> tuple[StrategyLine, ...]:
    strategies = () if reference is None else reference.strategies
    return tuple(StrategyLine(name=each.name, score=each.score, loss=each.loss) for each in strategies)


def _range_score(group: Group, lengths: LengthRange) -> RangeScore:
    """Return the mean score of a group over a range, at which at least one seed was tested."""
    scores = [seed.range_scores[lengths] for seed in group.seeds if lengths in seed.range_scores]
    interval = interval_of_scores(scores, group.test_sequences(lengths[1]))
    low, high = bounds(interval, floor=0.0, ceiling=1.0)
    share = range_share(group, lengths)
    return RangeScore(
        lengths=range_text(lengths),
        score=interval.middle,
        low=low,
        high=high,
        share=share.middle if share else None,
        share_high=share.high if share else None,
    )


def _early_stopped(group: Group) -> tuple[float | None, float | None, float | None]:
    """Return the mean test score of the best validated weights with its 95% interval, or None three times.

    The same test sequences as for the score are tested, so the interval is found in the same way.
    """
    scores = early_stopped_scores(group)
    if not scores:
        return None, None, None
    interval = interval_of_scores(scores, group.test_sequences())
    return interval.middle, *bounds(interval, floor=0.0, ceiling=1.0)


def _mean(values: Sequence[float], *, ceiling: float = math.inf) -> tuple[float | None, float | None, float | None]:
    """Return the mean of values of at least 0 with its 95% interval, clipped to [0, `ceiling`].

    The mean is None without values, and the interval with fewer than two.
    """
    if not values:
        return None, None, None
    interval = interval_of_mean(values)
    return interval.middle, *bounds(interval, floor=0.0, ceiling=ceiling)


def bounds(
    interval: Interval, *, floor: float = -math.inf, ceiling: float = math.inf
) -> tuple[float | None, float | None]:
    """Return the ends of an interval, clipped to [`floor`, `ceiling`], or (None, None) if an end is infinite."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return None, None
    return max(interval.low, floor), min(interval.high, ceiling)


def _whole(count: float | None) -> float | None:
    """Return a median of counts as a whole number, unless it lies between two."""
    return int(count) if count is not None and count % 1 == 0 else count


def _shared(values: Iterable[int | None]) -> int | None:
    """Return the largest known value, or None without one. The models of a group usually have equal values."""
    return max((value for value in values if value is not None), default=None)
