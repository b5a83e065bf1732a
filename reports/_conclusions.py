"""What the numbers say, in plain words computed from them: who uses the past, who does not, whom to stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from reports._numbers import listed, microseconds, short_score, size
from reports._series import Group, solved_from
from reports._streaming import StepCost, step_costs_by_arch

CLEAR_SHARE = 0.05
"""A mean this share of the span above a line is told as above it, and that far below it as below."""
MOST_SHARE = 0.8
"""From this share of the span on, a mean short of solved is told as nearly solving."""
NEARLY_BEST = 0.02
"""Mean scores this close count as equally good, as in the comparison of runs."""
FLAT = 1.25
"""A step cost that grows less than this from the first to the last position is told as flat."""


def conclusions(found: Sequence[Group]) -> list[str]:
    """One line per task and length, then one on what a streamed step costs."""
    places = dict.fromkeys((group.task, group.length) for group in found)
    lines = [_of_place([group for group in found if (group.task, group.length) == place]) for place in places]
    return lines + streaming_conclusions(found)


def choice(found: Sequence[Group]) -> str | None:
    """Which architecture to stream, and why; None where fewer than two were streamed."""
    costs = step_costs_by_arch(found)
    return _choice(found, costs) if len(costs) > 1 else None


def streaming_conclusions(found: Sequence[Group]) -> list[str]:
    """What a step costs at the longest position."""
    costs = step_costs_by_arch(found)
    if not costs:
        return []
    ranked = sorted(costs, key=lambda arch: costs[arch][-1].p50_seconds)
    position = max(costs[arch][-1].position for arch in ranked)
    parts = [f"{arch} {microseconds(costs[arch][-1].p50_seconds)} µs ({_growth(costs[arch])})" for arch in ranked]
    return [f"A streamed step at position {position:,} costs: {', '.join(parts)}."]


def baseline(group: Group) -> float | None:
    """The line that a model must pass to have used the past."""
    line = group.line()
    return None if line is None else max(line.chance, line.blind_to_the_past or 0.0)


def _of_place(rivals: Sequence[Group]) -> str:
    task, length = rivals[0].task, rivals[0].length
    line = next((group.line() for group in rivals if group.line() is not None), None)
    scores = {group.arch: fmean(found) for group in rivals if (found := group.scores())}
    partly = {group.arch: f", {len(group.scores())} of {len(group.seeds)} seeds" for group in rivals}
    partly |= {group.arch: "" for group in rivals if len(group.scores()) == len(group.seeds)}
    unscored = [group.arch for group in rivals if group.arch not in scores]
    told = [f"{arch} {scores[arch]:.2f}{partly[arch]}" for arch in sorted(scores, key=lambda arch: -scores[arch])]
    if line is None or not scores:
        text = listed(told) if told else ""
    else:
        text = _against_lines(scores, partly, line.chance, line.blind_to_the_past)
    nothing = f"nothing was measured of {listed(unscored)}" if unscored else ""
    return f"{task} at {length:,}: {'; '.join(part for part in (text, nothing) if part)}."


def _against_lines(scores: dict[str, float], partly: dict[str, str], chance: float, blind: float | None) -> str:
    line = max(chance, blind or 0.0)
    margin = CLEAR_SHARE * (1 - line)
    blind_leads = blind is not None and blind > chance
    name = f"the {short_score(line)} of {'an answer blind to the past' if blind_leads else 'chance'}"
    kinds: dict[str, list[str]] = {"solved": [], "most": [], "some": [], "at": [], "below": []}
    for arch in sorted(scores, key=lambda arch: -scores[arch]):
        mean = scores[arch]
        if mean >= solved_from(chance):
            kind = "solved"
        elif mean >= line + MOST_SHARE * (1 - line):
            kind = "most"
        elif mean > line + margin:
            kind = "some"
        else:
            kind = "at" if mean >= line - margin else "below"
        kinds[kind].append(f"{arch} ({mean:.2f}{partly[arch]})")
    words = {
        "solved": ("solves it", "solve it"),
        "most": ("nearly solves it", "nearly solve it"),
        "some": ("uses some of the past", "use some of the past"),
        "at": (f"stays at {name}", f"stay at {name}"),
        "below": (f"falls below {name}", f"fall below {name}"),
    }
    return "; ".join(f"{listed(archs)} {words[kind][len(archs) > 1]}" for kind, archs in kinds.items() if archs)


def _growth(costs: list[StepCost]) -> str:
    ratio = costs[-1].p50_seconds / costs[0].p50_seconds if costs[0].p50_seconds else 1.0
    flat = f"flat from position {costs[0].position:,}"
    return flat if 1 / FLAT < ratio < FLAT else f"{ratio:.1f} times its cost at position {costs[0].position:,}"


def _choice(found: Sequence[Group], costs: dict[str, list[StepCost]]) -> str:
    """The cheapest step among the architectures that most often score nearly best where the best uses the past."""
    wins: Counter[str] = Counter()
    contests = 0
    for place in dict.fromkeys((group.task, group.length) for group in found):
        rivals = [group for group in found if (group.task, group.length) == place]
        scores = {group.arch: fmean(kept) for group in rivals if (kept := group.scores())}
        lines = [line for group in rivals if (line := baseline(group)) is not None]
        if not scores or not lines or max(scores.values()) <= lines[0] + CLEAR_SHARE * (1 - lines[0]):
            continue
        contests += 1
        wins.update(arch for arch, mean in scores.items() if mean >= max(scores.values()) - NEARLY_BEST)
    candidates = [arch for arch in costs if wins[arch]]
    if not candidates:
        return "No architecture that was streamed used the past on any of these tasks, so none is to be preferred."
    best = min(candidates, key=lambda arch: (-wins[arch], costs[arch][-1].p50_seconds))
    cost = costs[best][-1]
    state = f" and {size(cost.state_bytes)} of state" if cost.state_bytes is not None else ""
    settings = "the one setting" if contests == 1 else f"{wins[best]} of the {contests} settings"
    return (
        f"For streaming, choose {best}: within {NEARLY_BEST} of the best score in {settings} where any architecture "
        f"used the past, at {microseconds(cost.p50_seconds)} µs a step{state} at position {cost.position:,}."
    )
