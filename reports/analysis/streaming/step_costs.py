"""The cost of one streamed step by position: the median over cases of the quantiles within each case.

The cost is that of the step inside a compiled loop. An architecture without such timings is shown by the cost of a call
from Python, which includes the interpreter, so it is not ranked among compiled ones. Samples of different cases are not
pooled, because the steps within one process are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Literal

from reports.analysis.groups import Group, Seed
from reports.analysis.noise import is_mostly_noisy

StepTiming = Literal["compiled", "interpreted", "called"]
"""How the steps of an architecture were timed.

- `compiled`: inside a compiled loop
- `interpreted`: as calls from Python, because the architecture has no compiled step
- `called`: as calls from Python only, as in runs before the schema version 4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The cost of one step at `position`.

    Quantiles of step times are computed per case. All other fields without a description are medians over cases.
    """

    position: int
    cases: int
    """The number of cases that were streamed to this position."""
    processes: int
    """The number of processes that timed steps at this position, over all cases."""
    noisy: bool
    """Whether other work on the machine disturbed at least half of these timings."""
    timing: StepTiming
    p50_seconds: float
    p50_lowest_seconds: float
    """The lowest p50 of any case."""
    p50_highest_seconds: float
    """The highest p50 of any case."""
    p90_seconds: float
    p99_seconds: float
    max_seconds: float
    call_seconds: float | None
    """The p50 of one call of the step from Python; None if it was not measured."""
    state_bytes: float | None
    steps_per_reading: int
    """The number of steps per reading of the clock. With more than one, quantiles are of means over so many steps."""
    limit_share: float | None = None
    """The share of the roofline limit that the step reaches, as the median over cases; None if it is unknown."""

    @property
    def added_seconds(self) -> float | None:
        """What a call from Python adds to the step inside a compiled loop; None without both timings."""
        if self.timing != "compiled" or self.call_seconds is None:
            return None
        return self.call_seconds - self.p50_seconds

    @property
    def is_single(self) -> bool:
        """Whether a single process timed the step, so that the variation between processes is unknown."""
        return self.processes < 2


def any_compiled(groups: Iterable[Group]) -> bool:
    """Return whether the steps of any architecture were timed inside a compiled loop."""
    return any(seed.step_quantiles for group in groups for seed in group.seeds)


def timing_of(seeds: Sequence[Seed], *, beside_compiled: bool) -> StepTiming:
    """Return how the steps of the seeds were timed.

    `beside_compiled` says whether the run has timings of other steps inside a compiled loop. If so, seeds without such
    timings are interpreted.
    """
    if any(seed.step_quantiles for seed in seeds):
        return "compiled"
    return "interpreted" if beside_compiled or any(seed.is_interpreted for seed in seeds) else "called"


def step_costs(seeds: Sequence[Seed], *, beside_compiled: bool) -> list[StepCost]:
    """Return the step cost at each streamed position, ascending. The list is empty if no seed was streamed.

    `beside_compiled` is the result of `any_compiled` for all groups of the run.
    """
    timing = timing_of(seeds, beside_compiled=beside_compiled)
    quantiles: defaultdict[int, list[tuple[float, ...]]] = defaultdict(list)
    calls: defaultdict[int, list[float]] = defaultdict(list)
    states: defaultdict[int, list[float]] = defaultdict(list)
    shares: defaultdict[int, list[float]] = defaultdict(list)
    noise: defaultdict[int, list[bool]] = defaultdict(list)
    for seed in seeds:
        for position, row in (seed.step_quantiles if timing == "compiled" else seed.call_quantiles).items():
            quantiles[position].append(row)
        for position, row in seed.call_quantiles.items():
            calls[position].append(row[0])
        for position, sizes in seed.state_sizes:
            states[position].extend(sizes)
        for position, share in seed.limit_shares:
            shares[position].append(share)
        for position, noisy in (seed.step_noise if timing == "compiled" else seed.call_noise).items():
            noise[position].extend(noisy)
    costs = []
    for position, rows in sorted(quantiles.items()):
        p50, p90, p99, highest = (median(quantile) for quantile in zip(*rows, strict=True))
        p50_of_cases = [row[0] for row in rows]
        costs.append(
            StepCost(
                position=position,
                cases=len(rows),
                processes=len(noise[position]),
                noisy=is_mostly_noisy(noise[position]),
                timing=timing,
                p50_seconds=p50,
                p50_lowest_seconds=min(p50_of_cases),
                p50_highest_seconds=max(p50_of_cases),
                p90_seconds=p90,
                p99_seconds=p99,
                max_seconds=highest,
                call_seconds=_median(calls[position]),
                state_bytes=_median(states[position]),
                steps_per_reading=max(seed.steps_per_reading for seed in seeds) if timing == "compiled" else 1,
                limit_share=_median(shares[position]),
            )
        )
    return costs


def step_costs_by_arch(groups: Sequence[Group]) -> dict[str, list[StepCost]]:
    """Return the step costs of each streamed architecture over all its cases, by the label of the architecture."""
    beside_compiled = any_compiled(groups)
    seeds: defaultdict[str, list[Seed]] = defaultdict(list)
    for group in groups:
        seeds[group.arch].extend(group.seeds)
    costs_by_arch = {arch: step_costs(own_seeds, beside_compiled=beside_compiled) for arch, own_seeds in seeds.items()}
    return {arch: costs for arch, costs in costs_by_arch.items() if costs}


def ranked(costs: Mapping[str, list[StepCost]]) -> dict[str, list[StepCost]]:
    """Return the costs that can be compared: the compiled ones, or all if there are none."""
    compiled = {arch: own_costs for arch, own_costs in costs.items() if own_costs[0].timing == "compiled"}
    return compiled or dict(costs)


def marked(arch: str, timing: StepTiming | None) -> str:
    """Return the label of an architecture, with a mark if its steps are interpreted: `indrnn (interpreted)`."""
    return f"{arch} (interpreted)" if timing == "interpreted" else arch


def nearest(costs: list[StepCost], position: int) -> StepCost:
    """Return the cost at the measured position whose ratio to `position` is closest to 1 on a logarithmic scale.

    If two positions are equally close, the earlier position is chosen. `costs` must not be empty. `position` must be
    positive.
    """
    return min(costs, key=lambda cost: (abs(log(max(cost.position, 1) / position)), cost.position))


def last_shared_position(costs: Iterable[Sequence[StepCost]]) -> int | None:
    """Return the last position that was measured for all architectures; None if they share no position."""
    positions = [{cost.position for cost in own_costs} for own_costs in costs]
    return max(set.intersection(*positions), default=None) if positions else None


def cost_at(costs: Sequence[StepCost], position: int | None) -> StepCost:
    """Return the cost at a position, or the last cost if that position was not measured. `costs` must not be empty."""
    return next((cost for cost in costs if cost.position == position), costs[-1])


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
