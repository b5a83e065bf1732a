"""What the user asked `carousel run` for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.plans.plan import Plan
from bench.plugins.loader import Plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for."""

    plan_name: str
    plan: Plan
    store: Path
    command: str
    device: str = "cpu"
    workers: int = 1
    scheduler: str | None = None
    """Address of a dask scheduler whose workers take the place of this machine's lanes."""
    repeat: int = 1
    """Fresh processes in which every timing is taken."""
    timeout: float | None = None
    memory_bytes: int | None = None
    """The most that one lane may hold."""
    resume: bool = True
    """Whether to continue an unfinished run of the same work."""
    plugins: tuple[Plugin, ...] = ()
