"""Display the progress of a run: a live view on a terminal, plain lines elsewhere.

A quiet run displays only long waits for the machine, on standard error. A waiting run therefore does not seem to hang.
While all jobs of a run wait for another run, its speed and its remaining time stand still.
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

from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import Job
from bench.machine.lock import Work
from bench.progress.estimates import arch_name, job_kind
from bench.progress.eta import EtaEstimator, JobKind
from reports.format import moves_cursor, new_console, plural, print_lines, printable
from results import Case

PLAIN_LINE_SECONDS = 10.0
"""Shortest interval between two plain lines, in seconds. The line after the last case of a phase is always printed."""
LONG_WAIT_SECONDS = 15.0
"""Seconds after which a quiet run reports that it waits for another run."""
MIN_REPORTED_COMPILING_SECONDS = 1.0
MAX_SCORES = 12
"""Maximum number of rows of scores in the live view. Older rows are hidden, so that the workers stay on the screen."""


def format_duration(seconds: float) -> str:
    """Format a duration for people, such as `8 s`, `4 min 05 s` or `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(slots=True)
class _RunningJob:
    cases: tuple[Case, ...]
    started: float
    step: int = 0
    total_steps: int = 0
    note: str = "starting"
    is_waiting: bool = False
    """Whether the job waits for the machine."""
    training_share: float = 1.0
    """Share of the expected duration of the job before its tests."""

    def __str__(self) -> str:
        first = self.cases[0]
        models = arch_name(first) if len(self.cases) == 1 else f"{len(self.cases)} models"
        rate = "" if first.is_reported else f", learning rate {first.protocol.learning_rate:g}"
        return f"{models} on {first.task}, length {first.length}{rate}, seed {first.seed}"

    @property
    def fraction(self) -> float:
        return self.step / self.total_steps if self.total_steps else 0.0


@dataclass(slots=True)
class _Phase:
    name: str = ""
    cases: int = 0
    done: int = 0
    started: float = 0.0
    paused: float = 0.0
    """Seconds in which all jobs waited for the machine."""


@dataclass(slots=True)
class _Scores:
    best: float = 0.0
    latest: float = 0.0


@dataclass(slots=True)
class _Reported:
    """Printed messages and current waits, used to skip messages that are repeated or too frequent."""

    plain_line: float
    waiting_since: dict[Work, float] = field(default_factory=dict)
    """Start time in seconds of the current wait, by the work for which the machine is needed."""
    waits: set[str] = field(default_factory=set)
    compiled: set[tuple[str, bool]] = field(default_factory=set)
    """Hosts for which the duration of compiling was printed, and whether the kernels are kept there."""
    noted_hosts: set[str] = field(default_factory=set)
    """Hosts for which a note on kernels was printed."""


class Progress(AbstractContextManager["Progress"]):
    """Display of a run's progress. It receives the `Events` of the jobs and does not affect the run."""

    def __init__(
        self,
        console: Console,
        eta: EtaEstimator,
        expected_seconds: Callable[[Job], float],
        *,
        quiet: bool,
        training_share: Callable[[Job], float] = lambda job: 1.0,
        errors: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a display; entering its context starts the live view.

        Args:
            console: console on which progress is printed.
            eta: estimates the remaining time; it is informed about every job, but not about waits.
            expected_seconds: returns the expected duration of a job.
            training_share: returns the share of that duration in which the job reports progress, before its tests.
            quiet: whether to print only long waits and notes on kernels, on `errors`.
            errors: console for notes on kernels, and for long waits of a quiet run; None for standard error.
            clock: returns the current time in seconds.
        """
        self._console, self._eta, self._quiet, self._clock = console, eta, quiet, clock
        self._expected_seconds, self._training_share = expected_seconds, training_share
        self._errors = errors or new_console(stderr=True)
        self._jobs: dict[str, _RunningJob] = {}
        self._scores: dict[tuple[str, str], _Scores] = {}
        self._phase = _Phase(started=clock())
        self._paused_since: float | None = None
        self._started, self._reported = clock(), _Reported(plain_line=clock())
        self._live: Live | None = None
        if moves_cursor(console) and not quiet:  # a function is rendered at every refresh, so durations advance
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
        """Descriptions of the running jobs."""
        return [str(job) for job in self._jobs.values()]

    def report(self, line: str) -> None:
        """Print a line, unless the run is quiet."""
        if not self._quiet:
            print_lines([line], self._console)

    def start_phase(self, name: str, cases: int) -> None:
        """Begin a phase of the run that trains or times `cases` cases."""
        self._phase = _Phase(name, cases, 0, self._clock())

    def set_remaining(self, kind: JobKind, seconds: float) -> None:
        """Replace the expected seconds of the unfinished jobs of a kind."""
        self._eta.set_remaining(kind, seconds)

    def job_assigned(self, worker: str, job: Job) -> None:
        """Show a job on its worker. If another worker has lost the job, remove the job from that worker."""
        for other in [name for name, running in self._jobs.items() if running.cases == job.cases and name != worker]:
            del self._jobs[other]
            self._eta.discard(other)
        self._resume()
        self._jobs[worker] = _RunningJob(job.cases, self._clock(), training_share=self._training_share(job))
        self._eta.assign(worker, job_kind(job), self._expected_seconds(job))
        self._print_line()

    def job_started(self, event: JobStarted) -> None:
        """Show that a worker has started up, holds the machine lock, and runs its job.

        If compiling kernels took at least `MIN_REPORTED_COMPILING_SECONDS`, report the duration once per host, and once
        more for kernels that are not kept. Print the first note on the kernels of a host on standard error.
        """
        if (job := self._jobs.get(event.worker)) is None:
            return
        self._resume()
        job.started, job.note, job.is_waiting = self._clock(), "", False
        self._eta.start(event.worker)
        self._reported.waiting_since.clear()
        host, seconds = event.worker.rpartition("/")[0], event.compiling_seconds
        compiled = host, event.kernels_are_kept
        is_new = compiled not in self._reported.compiled
        if seconds >= MIN_REPORTED_COMPILING_SECONDS and is_new and not self._quiet:
            self._reported.compiled.add(compiled)
            line = f"kernels compiled in {format_duration(seconds)}"
            if not event.kernels_are_kept:
                line += "; those of a git revision are not kept, and each run compiles them again"
            elif event.kernels_note is None:
                line += ", once per machine"
            print_lines([line], self._console)
        if event.kernels_note is not None and host not in self._reported.noted_hosts:
            self._reported.noted_hosts.add(host)
            line = f"{host}: {event.kernels_note}" if host else event.kernels_note
            print_lines([line], self._errors)

    def job_progressed(self, event: JobProgress) -> None:
        """Show a job's finished fraction and its latest score."""
        if (job := self._jobs.get(event.worker)) is None:
            return
        job.step, job.total_steps, job.note = event.step, event.total_steps, f"score {event.score:.3f}"
        self._eta.advance(event.worker, job.fraction * job.training_share)
        scores = self._scores.setdefault((job.cases[0].arch, job.cases[0].task), _Scores())
        scores.best, scores.latest = max(scores.best, event.score), event.score
        self._print_line()

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        """Show that `worker` waits until other runs allow `work` on its machine, and name them if they are known.

        A message is printed once. A quiet run prints it only after `LONG_WAIT_SECONDS`.
        """
        message = _waiting_for(work, runs)
        if (job := self._jobs.get(worker)) is not None:
            job.note, job.is_waiting = message, True
            if self._paused_since is None and all(each.is_waiting for each in self._jobs.values()):
                self._paused_since = self._clock()
        waited = self._clock() - self._reported.waiting_since.setdefault(work, self._clock())
        if message not in self._reported.waits and (not self._quiet or waited >= LONG_WAIT_SECONDS):
            self._reported.waits.add(message)
            print_lines([message], self._errors if self._quiet else self._console)
        self._print_line()

    def finish(self, worker: str) -> None:
        """Show that a worker's job has ended."""
        self._resume()
        self._eta.finish(worker)
        self._phase.done += len(self._jobs.pop(worker).cases)
        self._print_line()

    def _print_line(self) -> None:
        if self._quiet or self._live is not None:
            return
        is_due = self._clock() - self._reported.plain_line >= PLAIN_LINE_SECONDS
        if is_due or self._phase.done == self._phase.cases:
            self._reported.plain_line = self._clock()
            print_lines([self._headline()], self._console)

    def _headline(self) -> str:
        phase, now = self._phase, self._clock()
        waiting = sum(len(job.cases) for job in self._jobs.values() if job.is_waiting)
        running = sum(len(job.cases) for job in self._jobs.values()) - waiting
        queued = phase.cases - phase.done - running - waiting
        paused = 0.0 if self._paused_since is None else now - self._paused_since
        elapsed = now - phase.started - phase.paused - paused
        speed = f", {60 * phase.done / elapsed:.1f} per minute" if phase.done and elapsed > 0 else ""
        counts = f"{running} running, {f'{waiting} waiting, ' if waiting else ''}{queued} queued{speed}"
        left = f"about {format_duration(self._eta.remaining_seconds)} left"
        return (
            f"{phase.name}: {phase.done} of {phase.cases} cases done, {counts}; "
            f"{format_duration(now - self._started)} elapsed, {left}"
            f"{' once the machine is free' if self._paused_since is not None else ''}"
        )

    def _resume(self) -> None:
        """Note that a job runs, after a time in which all jobs may have waited for the machine."""
        if self._paused_since is not None:
            self._phase.paused += self._clock() - max(self._paused_since, self._phase.started)
            self._paused_since = None

    def _view(self) -> Group:
        workers = Table.grid(padding=(0, 1))
        for name, job in sorted(self._jobs.items()):
            seconds = max(1e-9, self._clock() - job.started)
            speed = f"{job.step / seconds:.0f} steps/s" if job.step else ""
            bar = ProgressBar(total=1.0, completed=job.fraction, width=20)
            title, described = Text(printable(f"worker {name}")), Text(printable(str(job)))
            duration = Text(format_duration(seconds))
            workers.add_row(title, bar, described, duration, Text(speed, "dim"), Text(printable(job.note), "dim"))
        scores = Table.grid(padding=(0, 1))
        for (arch, task), score in list(self._scores.items())[-MAX_SCORES:]:
            scores.add_row(
                Text(printable(f"{arch} on {task}")), Text(f"best {score.best:.3f}, latest {score.latest:.3f}", "dim")
            )
        return Group(Text(self._headline()), workers, scores)


def _waiting_for(work: Work, runs: tuple[str, ...]) -> str:
    """Return which runs must finish which jobs before `work` may start."""
    others = plural(len(runs) - 1, "other run") if len(runs) > 1 else ""
    who = f"run {runs[0]}{f' and {others}' if others else ''}" if runs else "another run"
    their = "their" if others else "its"
    jobs = "timing jobs" if work == "training" else "training and timing jobs"
    return f"waiting for {who} on this machine to finish {their} {jobs}"
