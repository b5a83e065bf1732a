"""Fresh processes that measure, and neighbour processes that keep cores busy."""

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
"""Time limit per process. Even on a machine that is ten times slower, a process ends much earlier."""


@dataclass(frozen=True, slots=True)
class Process:
    """The measurements of one fresh process."""

    measurements: tuple[Measurement, ...]

    def timings(self) -> dict[str, float]:
        """Return the median seconds of each timed metric at each position or batch size, by label."""
        return {label(m.metric, m.at): median(m.samples) for m in self.measurements if m.blocks}

    def calibration_times(self) -> list[float]:
        """Return the calibration seconds of all blocks."""
        return [seconds for m in self.measurements for seconds in m.calibration_seconds]

    def disturbances(self, median_calibration: float) -> list[str | None]:
        """Return one entry per block: the reason why the block is disturbed, or None if it is undisturbed.

        `median_calibration` is the median calibration time in seconds.
        """
        return [disturbed(block, median_calibration) for m in self.measurements for block in m.blocks]


def label(metric: str, at: Mapping[str, int]) -> str:
    """Return a label such as `step_seconds position 256`."""
    return " ".join([metric, *(f"{name} {value}" for name, value in at.items())])


def measure_in_fresh_process(repetitions: int) -> Process:
    """Time a model in a new process, under the machine lock, and return the measurements.

    The model runs its work `repetitions` times.

    Raises `CalledProcessError` if the process fails, or `TimeoutExpired` after `PROCESS_SECONDS`.
    """
    with machine_lock("timing"):
        result = subprocess.run(
            [sys.executable, "-m", "tests.trust.subject", str(repetitions)],
            capture_output=True,
            check=True,
            cwd=HOME,
            encoding="utf-8",
            timeout=PROCESS_SECONDS,
        )
    return Process(tuple(Measurement.model_validate_json(json.dumps(one)) for one in json.loads(result.stdout)))


@contextlib.contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Run `count` processes that each keep a core busy, until the `with` block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
