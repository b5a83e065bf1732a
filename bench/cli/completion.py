"""What a shell may complete: plans, architectures, tasks and runs, read off folders; a shell cannot wait for torch.

Plugins are left out: to know their names they would have to be run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

HOME = Path(__file__).resolve().parents[2]
SIGNS = ("+", "!")


def plans(incomplete: str) -> list[str]:
    """Plans that are shipped; where none matches, the shell offers files."""
    return _beginning(incomplete, _names("bench/plans", ".toml"))


def archs(incomplete: str) -> list[str]:
    """Architectures, behind the sign that was typed."""
    return _signed(incomplete, _names("arch", ".py"))


def tasks(incomplete: str) -> list[str]:
    """Tasks, behind the sign that was typed."""
    return _signed(incomplete, _names("tasks", ".py"))


def archs_and_tasks(incomplete: str) -> list[str]:
    """Whatever has a contract."""
    return archs(incomplete) + tasks(incomplete)


def runs(context: typer.Context, incomplete: str) -> list[str]:
    """The runs of the store that was named, newest first after `latest`."""
    store = Path(context.params["store"])
    ids = sorted((path.parent.name for path in store.glob("*/run.json")), reverse=True)
    return _beginning(incomplete, ["latest", *ids])


def _names(folder: str, suffix: str) -> list[str]:
    return sorted(path.stem for path in (HOME / folder).glob(f"[!_]*{suffix}"))


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _signed(incomplete: str, words: Iterable[str]) -> list[str]:
    sign = incomplete[:1] if incomplete.startswith(SIGNS) else ""
    return _beginning(incomplete, (sign + word for word in words))
