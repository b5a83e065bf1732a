"""Parts of alternative texts. An alternative text says in one sentence what a figure shows and its main result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from reports.format.numbers import listed, microseconds, score

MAX_NAMES = 5
"""The largest number of names in a list. If there are more names, the text gives only the number of names."""


def name_all(names: Iterable[str], noun: str = "architectures") -> str:
    """Return one or more names as a phrase without repetitions: `gru and rnn`.

    If there are more than `MAX_NAMES` names, the phrase gives only their number and `noun`: `7 architectures`.
    """
    distinct = list(dict.fromkeys(names))
    return listed(distinct) if len(distinct) <= MAX_NAMES else f"{len(distinct)} {noun}"


def extreme(
    panels: Sequence[Mapping[str, float]],
    superlative: str = "highest",
    *,
    choose: Callable[[Iterable[float]], float] = max,
    write: Callable[[float], str] = score,
) -> str:
    """Say which architecture has the extreme value: `highest for gru (0.950)`.

    With several panels, the text names the architecture that is extreme most often: `highest for gru in 4 of 6 panels`.
    With a single architecture there is nothing to compare, so the text gives its value or its range: `0.950 for gru`.
    At least one panel must not be empty.

    Args:
        panels: The values by architecture, per panel; empty panels are ignored.
        superlative: The word for the extreme value.
        choose: The function that picks the extreme value, `max` or `min`.
        write: The function that formats the value. If several panels compare architectures, the text has no value.
    """
    filled = [panel for panel in panels if panel]
    if len(archs := {arch for panel in filled for arch in panel}) == 1:
        return f"{_range_of([panel[arch] for panel in filled for arch in panel], write)} for {archs.pop()}"
    extremes = [choose(panel.values()) for panel in filled]
    if len(filled) == 1:
        winners = [arch for arch, value in filled[0].items() if value == extremes[0]]
        return f"{superlative} for {name_all(winners)} ({write(extremes[0])})"
    wins = Counter(
        arch for panel, value in zip(filled, extremes, strict=True) for arch in panel if panel[arch] == value
    )
    most = max(wins.values())
    winners = [arch for arch, count in wins.items() if count == most]
    if most == len(filled):
        return f"{superlative} for {name_all(winners)} in every panel"
    each = " each" if len(winners) > 1 else ""
    return f"{superlative} for {name_all(winners)} in {most} of {len(filled)} panels{each}"


def _range_of(values: Sequence[float], write: Callable[[float], str]) -> str:
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"between {low} and {high}"


def cheapest(panels: Sequence[Mapping[str, float]]) -> str:
    """Say which architecture has the lowest step time: `, and the time per step is lowest for rnn (2.30 µs)`.

    `panels` are comparable step times in seconds by architecture, per panel. The text is empty without step times.
    """
    if not any(panels):
        return ""
    shortest = extreme(panels, "lowest", choose=min, write=lambda seconds: f"{microseconds(seconds)} µs")
    return f", and the time per step is {shortest}"
