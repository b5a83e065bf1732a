"""The factors of a condition: options, sizes and settings that a result may depend on.

A claim may hold in some conditions but not in others. `deciding` then finds the smallest set of factors that separates
the two groups.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from results.schema.case import BUDGETS, Case
from results.specs.spec import Spec, value_text

Factors = dict[str, str]
"""Values of factors by name, such as `{"architecture": "lstm", "init": "orthogonal"}`."""
Judged = Sequence[tuple[Factors, bool]]
"""The factors of each condition, and whether a claim holds there. All conditions have the same factors."""
MAX_FACTORS = 3
"""Maximum number of factors in an explanation. Larger combinations do not help a reader."""
MAX_ALTERNATIVES = 2
"""Maximum number of equally good explanations that are written out. Further explanations are only counted."""
MAX_COMBINATIONS = 2
"""Maximum number of value combinations that are written out. If there are more, only the factors are named."""
DEFAULT_OPTION = "its default"
"""Value of an option that the spec does not mention."""
AGAINST_PREFIX = "against "
"""Prefix of the factor names of the other cases, if a claim compares cases."""


def factors_of(case: Case) -> Factors:
    """Return the factors of a case: architecture, task, their options, sizes and protocol fields."""
    arch, task = Spec.parse_stored(case.arch), Spec.parse_stored(case.task)
    sizes = {name: getattr(case, name) for name in ("length", "depth", "params_of", *BUDGETS)}
    protocol = {name: getattr(case.protocol, name) for name in type(case.protocol).model_fields}
    named = {"architecture": arch.name, **arch.options, "task": task.name, **task.options, **sizes, **protocol}
    return {name: value_text(value) for name, value in named.items()}


def of_others(factors: Factors) -> Factors:
    """Return the factors of the other cases of a comparison, under names of their own."""
    return {f"{AGAINST_PREFIX}{name}": value for name, value in factors.items()}


def in_words(factors: Factors) -> str:
    """Return factors as text."""
    return ", ".join(f"{name}={value}" for name, value in factors.items())


def distinguished(conditions: Sequence[Factors]) -> list[Factors]:
    """Return the factors in which the conditions differ, for each condition. Redundant factors are left out too."""
    names = dict.fromkeys(name for factors in conditions for name in factors)
    differing = [
        name
        for name in names
        if len({factors.get(name, DEFAULT_OPTION) for factors in conditions}) > 1
        and not _is_redundant(name, conditions)
    ]
    return [{name: factors.get(name, DEFAULT_OPTION) for name in differing} for factors in conditions]


def _is_redundant(name: str, conditions: Sequence[Factors]) -> bool:
    """Return whether a factor of the other cases equals that of the claim's own cases in all conditions.

    The task, for example, is the same on both sides. The result is False for a factor of the claim's own cases.
    """
    own_name = name.removeprefix(AGAINST_PREFIX)
    return own_name != name and all(
        factors.get(name, DEFAULT_OPTION) == factors.get(own_name, DEFAULT_OPTION) for factors in conditions
    )


def deciding(judged: Judged) -> str:
    """Describe the smallest set of factors that decides whether a claim holds.

    Other sets of the same size follow as alternatives. If no set is small enough, the description lists the conditions
    in which the claim holds.
    """
    names = list(judged[0][0])
    for size in range(1, MAX_FACTORS + 1):
        descriptions = [_separation(judged, chosen) for chosen in itertools.combinations(names, size)]
        if explanations := [text for text in descriptions if text is not None]:
            more = len(explanations) - MAX_ALTERNATIVES
            shown = " or ".join(explanations[:MAX_ALTERNATIVES])
            return shown + (f", or {more} other explanations" if more > 0 else "")
    return f"the case: it holds with {'; '.join(in_words(factors) for factors, holds in judged if holds)}"


def _separation(judged: Judged, chosen: Sequence[str]) -> str | None:
    """Describe how the chosen factors separate the conditions in which a claim holds from the others.

    The result is None if these factors do not separate the conditions.
    """
    sides: dict[bool, dict[tuple[str, ...], None]] = {True: {}, False: {}}
    for factors, it_holds in judged:
        sides[it_holds][tuple(factors[name] for name in chosen)] = None
    if sides[True].keys() & sides[False].keys():
        return None
    if len(chosen) == 1:
        holds, fails = (" / ".join(value for (value,) in sides[side]) for side in (True, False))
        return f"{chosen[0]} (holds with {holds}; not with {fails})"
    side = len(sides[True]) <= len(sides[False])
    combinations = [
        " and ".join(_setting(name, value) for name, value in zip(chosen, values, strict=True))
        for values in sides[side]
    ]
    text = f"{' and '.join(chosen)} together"
    if len(combinations) > MAX_COMBINATIONS:
        return text
    return f"{text} (holds {'only' if side else 'except'} with {'; or '.join(combinations)})"


def _setting(name: str, value: str) -> str:
    return f"{name} at {value}" if value == DEFAULT_OPTION else f"{name}={value}"
