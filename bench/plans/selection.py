"""Which of a plan's architectures and tasks are meant: names, globs and exclusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from bench.errors import NothingSelected


def select(
    what: str, planned: Sequence[str], patterns: Sequence[str], registered: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """The specs that `patterns` choose from what is planned, in their order.

    A pattern is a name, a glob or a whole spec. It takes away where it begins with `!`, and is added
    to what is planned or chosen where it begins with `+`. A name or glob chooses among the plan's own
    specs first, then among all that are registered; a plain name that is neither is passed on, so that
    the registry can say what is wrong with it.

    Raises `NothingSelected` where nothing is left.
    """
    wanted = [pattern for pattern in patterns if not pattern.startswith(("!", "+"))]
    further = [pattern[1:] for pattern in patterns if pattern.startswith("+")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    chosen: list[str] = [] if wanted else list(planned)
    for pattern in wanted + further:
        found = _matching(pattern, planned) or _matching(pattern, registered())
        chosen += found or ([] if _is_glob(pattern) else [pattern])
    left = [spec for spec in dict.fromkeys(chosen) if not any(_matching(pattern, [spec]) for pattern in unwanted)]
    if not left:
        raise NothingSelected(f"no {what} matches {' '.join(patterns)}; there are {', '.join(registered())}")
    return tuple(left)


def _matching(pattern: str, specs: Sequence[str]) -> list[str]:
    return [
        spec
        for spec in specs
        if spec == pattern or fnmatchcase(spec, pattern) or fnmatchcase(spec.partition(":")[0], pattern)
    ]


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")
