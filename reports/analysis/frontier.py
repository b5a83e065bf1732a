"""The frontier: the architectures that no other one beats in memory share, state and step cost together.

An architecture *beats* another if it is better in one of the three and worse in none:

1. Its memory share is better if it is significantly higher. Shares that cannot be told apart count as equal.
2. Its state is better if it has fewer bytes per stream, at the last position that all streamed architectures share.
3. Its step is better if its median time at that position is shorter.

Costs at different positions are never compared. If there is no shared position, an architecture only beats those with
the same last position.

Interpreted steps are called from Python, so their times say nothing about compiled ones. An interpreted architecture
is compared by 1 and 2 only, and never beats a compiled one.

Only beaten architectures leave the frontier, and only for one that is on it. *Cannot be told apart* is no equality: a
may be tied with b, and b with c, while c is better than a. If a beats b, and b beats c, then c stays on the frontier
unless a beats it too.

An undecided architecture is no candidate, but its costs are known, so limits exclude it like any other. It could change
a choice unless a member of the frontier beats it now and would still beat it at the highest share that it could reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from reports.analysis.groups import Group
from reports.analysis.overview import OverviewRow, unscored_rows
from reports.analysis.ranking import NEARLY_EQUAL
from reports.analysis.streaming.growth import growths_by_arch
from reports.format.numbers import listed, memory_share, plural
from results import CLEAR_SHARE, Growth

Quantity = Literal["state_bytes", "step_seconds", "parameters"]
"""A cost that a user can limit. `OverviewRow` and `Needs` have a field or property of each name."""
QUANTITIES: tuple[Quantity, ...] = ("state_bytes", "step_seconds", "parameters")
ROUNDING = 1e-9
"""A cost may exceed a limit by this share, so that a limit may be given in another unit than the cost."""

STILL_LEARNING = "still learning"
"""The mark of an undecided architecture."""

Beats = Collection[tuple[str, str]]
"""Pairs of architectures, as (better, worse)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The most that an architecture may cost. None is no limit."""

    state_bytes: float | None = None
    """The state of one stream, at the position at which costs are compared."""
    step_seconds: float | None = None
    """The median time of a step at that position."""
    parameters: float | None = None

    def limits(self) -> dict[Quantity, float]:
        """Return the limits that are set, by quantity."""
        values = {quantity: getattr(self, quantity) for quantity in QUANTITIES}
        return {quantity: value for quantity, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The architectures to choose from, and which of them beat which."""

    candidates: tuple[OverviewRow, ...]
    """The architectures that can be recommended, highest memory share first."""
    beats: frozenset[tuple[str, str]]
    """Pairs of `considered` architectures at their present shares, as (better, worse)."""
    left_out: Mapping[str, str]
    """Why a streamed architecture is not considered, by its label."""
    undecided: tuple[OverviewRow, ...] = ()
    """The architectures that were still learning and could reach a clear memory share, highest share so far first."""
    settled: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    """The pairs of `beats` with an undecided worse one that more training cannot change."""
    growth: Growth | None = None
    """How the step cost of the only architecture on the frontier grows; None if there are several, or if unknown."""
    unscored: tuple[OverviewRow, ...] = ()
    """The streamed architectures, if no architecture has a memory share, as in an untrained run."""

    @property
    def considered(self) -> list[OverviewRow]:
        """The candidates and the undecided architectures, highest memory share first."""
        return sorted([*self.candidates, *self.undecided], key=lambda row: -row.share)

    def members(self, among: Sequence[OverviewRow] | None = None) -> list[OverviewRow]:
        """Return the frontier of the architectures in `among` (default: of all candidates), in their order."""
        rows = self.candidates if among is None else among
        names = unbeaten([row.arch for row in rows], self.beats)
        return [row for row in rows if row.arch in names]

    def could_change(self, among: Sequence[OverviewRow] | None = None) -> list[OverviewRow]:
        """Return the undecided architectures in `among` that more training could bring onto its frontier.

        By default, all considered architectures are among them.
        """
        rows = self.considered if among is None else among
        members = self.members([row for row in rows if not row.undecided])
        return [
            row
            for row in rows
            if row.undecided and not any((member.arch, row.arch) in self.settled for member in members)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """A limit, and the value to which it has to be raised to let an architecture through."""

    quantity: Quantity
    value: float
    ratio: float
    """`value` divided by the present limit."""
    archs: tuple[str, ...]
    """The labels of the architectures that this lets through, with their marks."""


def frontier(groups: Sequence[Group], rows: Sequence[OverviewRow]) -> Frontier:
    """Return the frontier of the streamed architectures of an overview.

    An architecture is left out if it has a failed case, or if it is not clear that it uses memory. An undecided one is
    left out only if it has a failed case, or if no training could give it a share of `CLEAR_SHARE`.

    Args:
        groups: The groups of the run.
        rows: The result of `overview_rows(groups)`.
    """
    unfit = failures(groups)
    for row in rows:
        share = memory_share(row.share, row.high)
        if row.undecided and row.possible_share < CLEAR_SHARE:
            unfit.setdefault(row.arch, f"no clear memory even with more training, {share} so far")
        elif not row.undecided and not has_clear_memory(row):
            unfit.setdefault(row.arch, f"no clear memory by its scores, {share}")
    streamed = [row for row in rows if row.cost is not None]
    fit = [row for row in streamed if row.arch not in unfit]
    pairs = [(a, b) for a in fit for b in fit if _beats(a, b)]
    found = Frontier(
        candidates=tuple(row for row in fit if not row.undecided),
        beats=frozenset((better.arch, worse.arch) for better, worse in pairs),
        left_out={row.arch: unfit[row.arch] for row in streamed if row.arch in unfit},
        undecided=tuple(row for row in fit if row.undecided),
        # An undecided architecture shares a letter with every better one: only state and step decide who beats it now.
        settled=frozenset(
            (better.arch, worse.arch)
            for better, worse in pairs
            if worse.undecided and worse.possible_share <= better.share + NEARLY_EQUAL
        ),
        unscored=tuple(unscored_rows(groups)),
    )
    members = found.members()
    only = members[0].arch if len(members) == 1 else None
    return replace(
        found, growth=growths_by_arch([group for group in groups if group.arch == only]).get(only) if only else None
    )


def has_clear_memory(row: OverviewRow) -> bool:
    """Return whether a memory share is at least `CLEAR_SHARE`, and shown by single seeds or by its whole interval.

    Single seeds count because some seeds learn a task and others do not. Then the interval of the mean is wide.
    """
    return row.share >= CLEAR_SHARE and (row.shows_memory or row.low > 0)


def failures(groups: Iterable[Group]) -> dict[str, str]:
    """Return what failed, such as `2 cases failed: 1 diverged and 1 timeout`, by the label of the architecture.

    A case failed if its status is not `ok`, or if its stream could not be timed. Missing cases did not fail.
    """
    kinds: dict[str, Counter[str]] = {}
    for group in groups:
        for record in group.records:
            probe = record.probes.get("streaming")
            if record.status != "ok":
                kinds.setdefault(group.arch, Counter())[record.status.replace("_", " ")] += 1
            elif probe is not None and probe.status != "ok":
                kinds.setdefault(group.arch, Counter())[f"streaming {probe.status}"] += 1
    return {
        arch: f"{plural(counts.total(), 'case')} failed: "
        + listed([f"{number} {kind}" if counts.total() > 1 else kind for kind, number in counts.items()])
        for arch, counts in kinds.items()
    }


def unbeaten(archs: Sequence[str], beats: Beats) -> list[str]:
    """Return the architectures that no returned one beats. Every other one is beaten by one of them.

    `beats` must not have a cycle, so that the result is unique.
    """
    members: list[str] = []
    remaining = list(archs)
    while remaining:
        decided = [arch for arch in remaining if not any((other, arch) in beats for other in remaining)]
        assert decided, f"{remaining} beat each other in a circle"
        members += [arch for arch in decided if not any((other, arch) in beats for other in members)]
        remaining = [arch for arch in remaining if arch not in decided]
    return members


def excluded_by(row: OverviewRow, needs: Needs) -> list[Quantity]:
    """Return the quantities whose limit excludes an architecture. A cost that was not measured is over any limit."""
    costs = {quantity: cost_of(row, quantity) for quantity in QUANTITIES}
    return [
        quantity
        for quantity, limit in needs.limits().items()
        if (cost := costs[quantity]) is None or cost > limit * (1 + ROUNDING)
    ]


def cost_of(row: OverviewRow, quantity: Quantity) -> float | None:
    """Return a cost of an architecture; None if it was not measured."""
    value: float | None = getattr(row, quantity)
    return value


def label(row: OverviewRow) -> str:
    """Return the name of an architecture with its marks: `indrnn (interpreted)` or `gru (still learning)`."""
    is_interpreted = row.cost is not None and row.cost.timing == "interpreted"
    marks = [mark for mark, applies in (("interpreted", is_interpreted), (STILL_LEARNING, row.undecided)) if applies]
    return f"{row.arch} ({', '.join(marks)})" if marks else row.arch


def relaxations(candidates: Sequence[OverviewRow], needs: Needs) -> list[Relaxation]:
    """Return the single limits whose relaxation lets an architecture through, smallest relative change first.

    Each limit is raised just far enough for one of the architectures that it alone excludes. A limit on the step is
    raised once for compiled and once for interpreted steps. The list is empty if every architecture breaks several
    limits.
    """
    found = []
    for (quantity, limit), is_ranked in product(needs.limits().items(), (True, False)):
        blocked = [row for row in candidates if excluded_by(row, needs) == [quantity]]
        costs = {
            label(row): cost
            for row in blocked
            if (cost := cost_of(row, quantity)) is not None
            and (row.has_ranked_cost or quantity != "step_seconds") == is_ranked
        }
        if costs:
            value = min(costs.values())
            found.append(
                Relaxation(
                    quantity=quantity,
                    value=value,
                    ratio=value / limit,
                    archs=tuple(arch for arch, cost in costs.items() if cost <= value * (1 + ROUNDING)),
                )
            )
    return sorted(found, key=lambda relaxation: relaxation.ratio)


def closest(candidates: Sequence[OverviewRow], needs: Needs) -> list[Relaxation]:
    """Return the limits to relax for the architecture whose largest excess over a limit is smallest, as a ratio.

    An architecture with a limited cost that was not measured is ignored. The list is empty if there is no other.
    """
    options = []
    for row in candidates:
        limits = {quantity: needs.limits()[quantity] for quantity in excluded_by(row, needs)}
        costs = {quantity: cost for quantity in limits if (cost := cost_of(row, quantity)) is not None}
        if len(costs) == len(limits):
            options.append(
                [
                    Relaxation(quantity=quantity, value=cost, ratio=cost / limits[quantity], archs=(label(row),))
                    for quantity, cost in costs.items()
                ]
            )
    return min(options, key=lambda found: max((each.ratio for each in found), default=0.0), default=[])


def _beats(a: OverviewRow, b: OverviewRow) -> bool:
    """Return whether `a` is better than `b` in memory share, state or step cost, and worse in none of them."""
    if b.has_ranked_cost and not a.has_ranked_cost:
        return False
    if a.cost is None or b.cost is None or a.cost.position != b.cost.position:
        return False
    is_compared_by_step = a.has_ranked_cost and b.has_ranked_cost
    pairs = [(a.state_bytes, b.state_bytes)] + [(a.step_seconds, b.step_seconds)] * is_compared_by_step
    if not all(_is_at_most(own, other) for own, other in pairs):
        return False
    if not set(a.ties) & set(b.ties):
        return a.share > b.share
    return any(own != other for own, other in pairs)


def _is_at_most(own: float | None, other: float | None) -> bool:
    """Return whether a cost is at most another. A cost that was not measured can only be compared with its like."""
    if own is None or other is None:
        return own is other
    return own <= other
