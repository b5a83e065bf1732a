"""Training jobs that fail, hang, use too much memory or train for too long.

These jobs have a module of their own, so that worker processes can import it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.executors.jobs import TrainJob
from results import Protocol
from tests.bench.tiny import tiny_case

SLOW_IMPORTS = ("scipy.stats", "pandas", "matplotlib", "setuptools", "rich", "distributed")
"""Modules that training does not need, and that would delay the start of every worker process."""


@dataclass(frozen=True)
class Trap:
    """Replacement for a case. Reading its `task` triggers the misbehaviour named by `kind`."""

    kind: str
    arch: str = "rnn"
    protocol: Protocol = field(default_factory=Protocol)

    @property
    def task(self) -> str:
        match self.kind:
            case "raises":
                raise LookupError("the first line\nthe second line")
            case "reports imports":
                raise LookupError(f"imported {[name for name in SLOW_IMPORTS if name in sys.modules]}")
            case "exits":
                print("Traceback (most recent call last):\n\nOSError: its last words", file=sys.stderr)
                os._exit(7)
            case "hangs":
                time.sleep(3600)
            case "dies once":
                marker = Path(os.environ["CAROUSEL_TEST_MARKER"])
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGSEGV)
                return "first_last"
            case "grows":
                blocks = []
                while True:
                    blocks.append(bytearray(32 << 20))
                    time.sleep(0.01)
            case "has no memory":
                raise MemoryError
            case "allocates too much":
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 10 TB\nmore")
        raise AssertionError(self.kind)


def trap(kind: str) -> TrainJob:
    case: Any = Trap(kind)
    return TrainJob(case=case)


def chattering() -> TrainJob:
    """Return a job that trains for far longer than any test waits, and reports progress at every step."""
    return TrainJob(case=tiny_case(steps=20_000, batch=1, validation_sequences=1, solved_after=None))
