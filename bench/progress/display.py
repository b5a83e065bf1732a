"""What is seen while a run goes on: a live view on a terminal, plain lines elsewhere.

Quiet, nothing; but a run that waits long for the machine says so on standard error, or it would seem to hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.executors.jobs import JobProgress, JobStarted
from bench.machine.lock import Work
from bench.progress.eta import EtaEstimator, Sort
from results import Case

PLAIN_EVERY_SECONDS = 10.0
LONG_WAIT_SECONDS = 15.0
"""After so much waiting for another run even a quiet one says why it does nothing."""
WORTH_TELLING_SECONDS = 1.0
"""Of compiling kernels."""
MAX_SCORES = 12
"""Rows of scores in the live view: the latest, so that a long plan does not push the lanes off the screen."""


def humanised(seconds: float) -> str:
    """A duration for people: `8 s`, `4 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(slots=True)
class Doing:
    """What a lane does at present."""

    cases: tuple[Case, ...]
    began: float
    done: int = 0
    total: int = 0
    note: str = "starting"

    def __str__(self) -> str:
        first = self.cases[0]
        who = first.arch.partition(":")[0] if len(self.cases) == 1 else f"{len(self.cases)} models"
        return f"{who} on {first.task} at {first.length}, seed {first.seed}"

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0


@dataclass(slots=True)
class _Phase:
    name: str = ""
    cases: int = 0
    done: int = 0
    began: float = 0.0


@dataclass(slots=True)
class _Scores:
    best: float = 0.0
    latest: float = 0.0


@dataclass(slots=True)
class _Told:
    plain: float
    waits: dict[str, float] = field(default_factory=dict)
    """When each reason to wait was first heard since a lane last began."""
    notes: set[str] = field(default_factory=set)
    compiled: set[str] = field(default_factory=set)
    """Hosts."""


class Progress(AbstractContextManager["Progress"]):
    """Follows a run's jobs. Nothing here decides anything."""

    def __init__(
        self,
        console: Console,
        pace: EtaEstimator,
        *,
        quiet: bool,
        errors: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._pace, self._quiet, self._clock = console, pace, quiet, clock
        self._errors = errors or Console(stderr=True)
        self._workers: dict[str, Doing] = {}
        self._scores: dict[tuple[str, str], _Scores] = {}
        self._phase = _Phase(began=clock())
        self._began, self._told = clock(), _Told(plain=clock())
        self._live: Live | None = None
        if console.is_terminal and not quiet:  # asked at every refresh, so that clocks move between events
            self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._view)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @property
    def running(self) -> list[str]:
        """What the lanes are doing."""
        return [str(doing) for doing in self._workers.values()]

    def phase(self, name: str, cases: int) -> None:
        """Begin a phase of the run, in which `cases` cases are worked through."""
        self._phase = _Phase(name, cases, 0, self._clock())

    def expect(self, sort: Sort, seconds: float) -> None:
        """So much is left of this sort of work, whatever was expected before."""
        self._pace.expect(sort, seconds)

    def start(self, worker: str, cases: tuple[Case, ...], sort: Sort, expected_seconds: float) -> None:
        """A lane has got a job that is expected to take so long."""
        # A job that begins again elsewhere was lost with its worker.
        for lost in [other for other, doing in self._workers.items() if doing.cases == cases and other != worker]:
            del self._workers[lost]
            self._pace.drop(lost)
        self._workers[worker] = Doing(cases, self._clock())
        self._pace.start(worker, sort, expected_seconds)
        self._show()

    def begin(self, begun: JobStarted) -> None:
        """A lane has taken up its job: its own start, and waiting for the machine, are over."""
        if (doing := self._workers.get(begun.worker)) is None:
            return
        doing.began, doing.note = self._clock(), ""
        self._pace.begin(begun.worker)
        self._told.waits.clear()
        host = begun.worker.rpartition("/")[0]
        if begun.compiling_seconds >= WORTH_TELLING_SECONDS and host not in self._told.compiled and not self._quiet:
            self._told.compiled.add(host)
            took = humanised(begun.compiling_seconds)
            self._console.print(f"kernels compiled in {took}, once per machine", highlight=False, soft_wrap=True)

    def advance(self, advance: JobProgress) -> None:
        """A lane has come further with its job."""
        if (doing := self._workers.get(advance.worker)) is None:
            return
        doing.done, doing.total, doing.note = advance.done, advance.total, f"score {advance.score:.3f}"
        self._pace.advance(advance.worker, doing.share)
        scores = self._scores.setdefault((doing.cases[0].arch, doing.cases[0].task), _Scores())
        scores.best, scores.latest = max(scores.best, advance.score), advance.score
        self._show()

    def wait(self, worker: str, work: Work) -> None:
        """A lane waits for another run on this machine."""
        other = "the timings" if work == "training" else "the trainings and timings"
        note = f"waiting for {other} of another run on this machine to end"
        if (doing := self._workers.get(worker)) is not None:
            doing.note = note
        waited = self._clock() - self._told.waits.setdefault(note, self._clock())
        if note not in self._told.notes and (not self._quiet or waited >= LONG_WAIT_SECONDS):
            self._told.notes.add(note)
            (self._errors if self._quiet else self._console).print(note, soft_wrap=True)

    def finish(self, worker: str) -> None:
        """A lane has ended its job."""
        self._pace.finish(worker)
        self._phase.done += len(self._workers.pop(worker).cases)
        self._show()

    def _show(self) -> None:
        if self._quiet or self._live is not None:
            return
        if self._clock() - self._told.plain >= PLAIN_EVERY_SECONDS or self._phase.done == self._phase.cases:
            self._told.plain = self._clock()
            self._console.print(self._headline(), highlight=False, soft_wrap=True)

    def _headline(self) -> str:
        phase, now = self._phase, self._clock()
        running = sum(len(doing.cases) for doing in self._workers.values())
        left = phase.cases - phase.done - running
        elapsed = now - phase.began
        speed = f", {60 * phase.done / elapsed:.1f} a minute" if phase.done and elapsed > 0 else ""
        return (
            f"{phase.name}: {phase.done} of {phase.cases} cases done, {running} running, {left} left{speed}; "
            f"{humanised(now - self._began)} so far, about {humanised(self._pace.left_seconds)} to go"
        )

    def _view(self) -> Group:
        workers = Table.grid(padding=(0, 1))
        for worker, doing in sorted(self._workers.items()):
            seconds = max(1e-9, self._clock() - doing.began)
            speed = f"{doing.done / seconds:.0f} steps/s" if doing.done else ""
            bar = ProgressBar(total=1.0, completed=doing.share, width=20)
            workers.add_row(
                f"lane {worker}", bar, str(doing), humanised(seconds), Text(speed, "dim"), Text(doing.note, "dim")
            )
        scores = Table.grid(padding=(0, 1))
        for (arch, task), score in list(self._scores.items())[-MAX_SCORES:]:
            scores.add_row(Text(f"{arch} on {task}"), Text(f"best {score.best:.3f}, latest {score.latest:.3f}", "dim"))
        return Group(Text(self._headline()), workers, scores)
