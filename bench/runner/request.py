"""The options of `carousel run`, after parsing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.plans.plan import Plan
from bench.plugins.loader import Plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A plan to run, and how and where to run it."""

    plan_name: str
    plan: Plan
    """The plan, with the user's changes applied."""
    store: Path
    """Folder of the store."""
    command: str
    """Command line to store with the run."""
    device: str = "cpu"
    """Torch device on which cases are trained and timed."""
    workers: int = 1
    """Number of worker processes on this machine. Ignored if `scheduler` is given."""
    scheduler: str | None = None
    """Address of a dask scheduler whose workers are used instead of this machine's."""
    repeat: int = 1
    """Number of processes in which each timing is repeated. If the number exceeds 1, every process is fresh."""
    timeout: float | None = None
    """Seconds that one job may take after it has started; None for no limit."""
    memory_bytes: int | None = None
    """Resident memory at which a worker process is ended; None for no limit."""
    resume: bool = True
    """Whether to continue an unfinished run of the same plan, code and environment."""
    plugins: tuple[Plugin, ...] = ()
