"""What is seen while a run goes on: a live view on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench._machine import Work

PLAIN_EVERY_SECONDS = 10.0


def humanised(seconds: float) -> str:
    """A duration for people: `8 s`, `4 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress(AbstractContextManager["Progress"]):
    """Counts jobs by their expected seconds, and corrects the expectation by what they took."""

    def __init__(
        self, console: Console, lanes: Sequence[str], expected_seconds: float, cases: int, *, quiet: bool
    ) -> None:
        self._console, self._quiet = console, quiet
        self._lanes: dict[str, tuple[str, float, str]] = dict.fromkeys(lanes, ("idle", 0.0, ""))
        self._expected, self._done_expected = max(expected_seconds, 1e-9), 0.0
        self._cases, self._cases_done = cases, 0
        self._started = self._last_plain = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._phase = ""
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        if self._live is not None and not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None and not self._quiet:
            self._live.stop()

    def phase(self, name: str, cases: int) -> None:
        """Begin a phase of the run, in which `cases` cases are worked through."""
        self._phase, self._cases, self._cases_done = name, cases, 0
        self._show()

    def start(self, lane: str, name: str) -> None:
        """A lane has taken up a job."""
        self._lanes[lane] = (name, 0.0, "")
        self._show()

    def advance(self, lane: str, share: float, note: str) -> None:
        """A lane has come this far with its job."""
        self._lanes[lane] = (self._lanes[lane][0], share, note)
        self._show()

    def wait(self, lane: str, work: Work) -> None:
        """A lane waits for another run on this machine."""
        other = "timing" if work == "training" else "training or timing"
        note = f"waiting for the {other} of another run on this machine"
        self._lanes[lane] = (self._lanes[lane][0], 0.0, note)
        if note not in self._told and not self._quiet:
            self._told.add(note)
            self._console.print(f"{note} to end")
        self._show()

    def finish(self, lane: str, expected_seconds: float, cases: int) -> None:
        """A lane has ended a job of `cases` cases that was expected to take so long."""
        self._lanes[lane] = ("idle", 0.0, "")
        self._done_expected += expected_seconds
        self._cases_done += cases
        self._show()

    @property
    def left_seconds(self) -> float:
        """Expected seconds to the end, corrected by the pace so far."""
        elapsed = time.monotonic() - self._started
        share = min(1.0, self._done_expected / self._expected)
        guess = self._expected - elapsed
        return max(1.0, (1 - share) * guess + share * elapsed * (1 - share) / max(share, 1e-9))

    def _show(self) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(self._view())
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_SECONDS or self._cases_done == self._cases:
            self._last_plain = time.monotonic()
            self._console.print(self._headline())

    def _headline(self) -> str:
        elapsed = humanised(time.monotonic() - self._started)
        left = humanised(self.left_seconds)
        return f"{self._phase}: {self._cases_done} of {self._cases} cases, {elapsed} so far, about {left} left"

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 1))
        for lane, (name, share, note) in self._lanes.items():
            table.add_row(f"lane {lane}", ProgressBar(total=1.0, completed=share, width=20), name, Text(note, "dim"))
        return Group(Text(self._headline()), table)
