"""Select architectures or tasks of a plan by names, globs, additions and exclusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from bench.errors import NothingSelected
from results.specs import Spec


def select(
    kind: str, planned: Sequence[str], patterns: Sequence[str], registered: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """Return the specs that `patterns` select, in the order of the patterns.

    A pattern is a name, a glob or a whole spec. A pattern selects all matching specs of the plan. If no spec of the
    plan matches, the pattern selects all matching registered names. If no registered name matches, a pattern without
    wildcards in its name is kept unchanged. The registry later accepts the pattern as a spec, or reports it as unknown.

    The prefix `!` excludes the matching specs. The prefix `+` puts the matching specs after those of patterns without a
    prefix. If all patterns have a prefix, all specs of the plan are selected first.

    Args:
        kind: `architecture` or `task`, for the error message.
        planned: Specs of the plan.
        patterns: Patterns in the order of the command line. If there are none, all specs of the plan are selected.
        registered: Returns all registered names; called only if needed.

    Raises `NothingSelected` if no spec remains.
    """
    wanted = [pattern for pattern in patterns if not pattern.startswith(("!", "+"))]
    added = [pattern[1:] for pattern in patterns if pattern.startswith("+")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    selected: list[str] = [] if wanted else list(planned)
    for pattern in wanted + added:
        matching = _matching(pattern, planned) or _matching(pattern, registered())
        selected += matching or ([] if _is_glob(pattern) else [pattern])
    remaining = [
        spec for spec in dict.fromkeys(selected) if not any(_matching(pattern, [spec]) for pattern in excluded)
    ]
    if not remaining:
        raise NothingSelected(f"no {kind} matches {' '.join(patterns)}; available: {', '.join(registered())}")
    return tuple(remaining)


def _matching(pattern: str, specs: Sequence[str]) -> list[str]:
    if ":" in pattern and pattern in specs:  # a whole spec may have a star, as `hybrid:pattern=gru*3+transformer` has
        return [pattern]
    return [
        spec
        for spec in specs
        if spec == pattern or fnmatchcase(spec, pattern) or fnmatchcase(Spec.parse_stored(spec).name, pattern)
    ]


def _is_glob(pattern: str) -> bool:
    """Return whether a pattern has a wildcard in its name, or in an item that is not `option=value`."""
    name, _, options = pattern.partition(":")
    items = [name, *(item for item in options.split(",") if "=" not in item)]
    return any(sign in item for item in items for sign in "*?[")
