"""Shell completion for plans, architectures, tasks and runs.

Names are read from folders. Importing `arch` and `tasks` would import torch, which takes too long. Plugins are not in
these folders, so they are not offered.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

HOME = Path(__file__).resolve().parents[2]
SIGNS = ("+", "!")
"""Prefixes of a pattern: `+` adds names and `!` excludes names."""


def plans(incomplete: str) -> list[str]:
    """Return the shipped plans whose name starts with `incomplete`. If no name matches, the shell offers files."""
    published = _file_stems("bench/plans/published", ".toml")
    names = [*_file_stems("bench/plans", ".toml"), *(f"published/{stem}" for stem in published)]
    return _starting_with(incomplete, names)


def archs(incomplete: str) -> list[str]:
    """Return the architectures whose name starts with `incomplete`. A typed prefix `+` or `!` is kept."""
    return _with_sign(incomplete, _file_stems("arch", ".py"))


def tasks(incomplete: str) -> list[str]:
    """Return the tasks whose name starts with `incomplete`. A typed prefix `+` or `!` is kept."""
    return _with_sign(incomplete, _file_stems("tasks", ".py"))


def archs_and_tasks(incomplete: str) -> list[str]:
    """Return the architectures and the tasks whose name starts with `incomplete`."""
    return archs(incomplete) + tasks(incomplete)


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of runs that start with `incomplete`: `latest`, then the run ids in descending order.

    The runs are read from the store that `--store` gives.
    """
    store = Path(context.params["store"])
    ids = sorted((path.parent.name for path in store.glob("*/run.json")), reverse=True)
    return _starting_with(incomplete, ["latest", *ids])


def _file_stems(folder: str, suffix: str) -> list[str]:
    return sorted(path.stem for path in (HOME / folder).glob(f"[!_]*{suffix}"))


def _starting_with(prefix: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(prefix)]


def _with_sign(prefix: str, words: Iterable[str]) -> list[str]:
    sign = prefix[:1] if prefix.startswith(SIGNS) else ""
    return _starting_with(prefix, (sign + word for word in words))
