"""What the numbers say, in plain words computed from them: who uses the past, who does not, what a step costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reports.analysis.groups import Group, solved_from
from reports.analysis.memory_share import CLEAR_SHARE, no_memory_score
from reports.analysis.step_costs import StepCost, describe_growth, step_costs_by_arch
from reports.format.numbers import listed, microseconds, short_score
from results import ReferenceScores, interval_of_mean

MAX_SHARE = 0.8
"""With the whole interval above this share of the span, what is short of solved is told as nearly solving."""


def conclusions(found: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[str]:
    """One line per task and length, then one on what a streamed step costs."""
    places = dict.fromkeys((group.task, group.length) for group in found)
    lines = [_of_place([group for group in found if (group.task, group.length) == place]) for place in places]
    return lines + streaming_conclusions(step_costs_by_arch(found) if costs is None else costs)


def streaming_conclusions(costs: dict[str, list[StepCost]]) -> list[str]:
    """What a step costs at the longest position."""
    if not costs:
        return []
    ranked = sorted(costs, key=lambda arch: costs[arch][-1].p50_seconds)
    position = max(costs[arch][-1].position for arch in ranked)
    parts = [
        f"{arch} {microseconds(costs[arch][-1].p50_seconds)} µs ({describe_growth(costs[arch])})" for arch in ranked
    ]
    return [f"A streamed step at position {position:,} costs: {', '.join(parts)}."]


def clears(mean: float, low: float, line: float) -> bool:
    """Whether a score has used the past: its interval is above the line, and its mean not by a hair only."""
    return low > line and mean > line + CLEAR_SHARE * (1 - line)


def _of_place(rivals: Sequence[Group]) -> str:
    task, length = rivals[0].task, rivals[0].length
    line = next((group.reference() for group in rivals if group.reference() is not None), None)
    scored = sorted((group for group in rivals if group.scores()), key=lambda group: -fmean(group.scores()))
    unscored = [group.arch for group in rivals if not group.scores()]
    parts = []
    if line is None and scored:
        parts.append(listed([_with_mean(group) for group in scored]))
    elif line is not None:
        parts += _against_lines([group for group in scored if len(group.scores()) > 1], line)
        if single := [_with_mean(group) for group in scored if len(group.scores()) == 1]:
            parts.append(f"one seed, so no interval: {listed(single)}, beside {_name_of(line)}")
    if unscored:
        parts.append(f"nothing was measured of {listed(unscored)}")
    return f"{task} at {length:,}: {'; '.join(parts)}."


def _against_lines(scored: Sequence[Group], line: ReferenceScores) -> list[str]:
    kinds: dict[str, list[str]] = {"solved": [], "most": [], "some": [], "at": [], "below": []}
    for group in scored:
        kinds[_kind(group.scores(), line)].append(_with_mean(group))
    name = _name_of(line)
    words = {
        "solved": ("solves it", "solve it"),
        "most": ("nearly solves it", "nearly solve it"),
        "some": ("uses some of the past", "use some of the past"),
        "at": (f"cannot be told from {name}", f"cannot be told from {name}"),
        "below": (f"falls below {name}", f"fall below {name}"),
    }
    return [f"{listed(archs)} {words[kind][len(archs) > 1]}" for kind, archs in kinds.items() if archs]


def _kind(scores: Sequence[float], line: ReferenceScores) -> str:
    """What the interval of the mean allows to be said, not the mean alone."""
    bounds, least = interval_of_mean(scores), no_memory_score(line)
    if clears(bounds.middle, bounds.low, least):
        if min(scores) >= solved_from(line.chance):
            return "solved"
        return "most" if bounds.low >= least + MAX_SHARE * (1 - least) else "some"
    return "below" if bounds.high < least and bounds.middle < least - CLEAR_SHARE * (1 - least) else "at"


def _name_of(line: ReferenceScores) -> str:
    blind_leads = line.memoryless_score is not None and line.memoryless_score > line.chance
    return f"the {short_score(no_memory_score(line))} of {'an answer blind to the past' if blind_leads else 'chance'}"


def _with_mean(group: Group) -> str:
    scores = group.scores()
    partly = "" if len(scores) == len(group.seeds) else f", {len(scores)} of {len(group.seeds)} seeds"
    return f"{group.arch} ({fmean(scores):.2f}{partly})"
