"""Fresh processes that measure, and neighbours that only compute."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.machine.lock import machine_lock
from results import Measurement, disturbed

HOME = Path(__file__).resolve().parents[2]
SPIN = "while True: pass"
PROCESS_SECONDS = 300
"""Far longer than a process takes, were the machine ten times slower."""


@dataclass(frozen=True, slots=True)
class Process:
    """What one fresh process measured."""

    measurements: tuple[Measurement, ...]

    def timings(self) -> dict[str, float]:
        """The median of each metric at each place."""
        return {place_of(m.metric, m.at): median(m.samples) for m in self.measurements if m.blocks}

    def pulses(self) -> list[float]:
        return [pulse for m in self.measurements for pulse in m.calibration_seconds]

    def reasons(self, pulse: float) -> list[str | None]:
        """What disturbed each block; None of a quiet one."""
        return [disturbed(block, pulse) for m in self.measurements for block in m.blocks]


def place_of(metric: str, at: Mapping[str, int]) -> str:
    """`step_seconds position 256`."""
    return " ".join([metric, *(f"{name} {value}" for name, value in at.items())])


def fresh(times: int) -> Process:
    """Measure in a process of its own, while no run of Carousel trains on this machine."""
    with machine_lock("timing"):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.trust._subject", str(times)],
            capture_output=True,
            check=True,
            cwd=HOME,
            encoding="utf-8",
            timeout=PROCESS_SECONDS,
        )
    return Process(tuple(Measurement.model_validate_json(json.dumps(one)) for one in json.loads(ended.stdout)))


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that keep a core busy each, until the block ends."""
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
