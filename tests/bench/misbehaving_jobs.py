"""Jobs that misbehave in a lane: reading the task of their case sets them off. Importable, so that a lane can."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.executors.jobs import TrainJob
from tests.bench.tiny import tiny_case

SLOW_IMPORTS = ("scipy.stats", "pandas", "matplotlib", "setuptools", "rich", "distributed")
"""Which a lane that trains has no use for, and would wait for each time it starts."""


@dataclass(frozen=True)
class Trap:
    """Takes the place of a case."""

    kind: str

    @property
    def task(self) -> str:
        match self.kind:
            case "raises":
                raise LookupError("the first line\nthe second line")
            case "looks":
                raise LookupError(f"imported {[name for name in SLOW_IMPORTS if name in sys.modules]}")
            case "exits":
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
                hoard = []
                while True:
                    hoard.append(bytearray(32 << 20))
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
    """Trains for far longer than any test waits, and tells of its progress at every step."""
    return TrainJob(case=tiny_case(steps=20_000, batch=1, validation_sequences=1, solved_after=None))
