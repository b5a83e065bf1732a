"""Noise around a block of samples: calibration time, load of other processes, and waiting time of the thread.

Two more counters tell more work from a slower machine: the processor time of the process, and retired instructions.

The counters and the calibration are arguments of `Machine`, so that tests can simulate any load.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from bench.machine.instructions import instructions
from bench.machine.timer import Clock, synchronise
from results import Block

if sys.platform != "win32":
    import resource

CALIBRATION_SIZE = {"cpu": 640, "cuda": 4096}
"""Width of the square matrices of the calibration. Their product takes 3 to 10 ms on one CPU core or on a GPU."""
WINDOW_SECONDS = 0.25
"""Shortest window, in seconds, over which load and steal share are computed. The system counts processor time in
hundredths of a second, which is too coarse for a shorter window. The window ends with the block and may begin before
the block. The load excludes the work of this process."""

CPU = torch.device("cpu")
Result = TypeVar("Result")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters of the system at one moment. Times are in seconds. A counter that the system does not have is None."""

    wall: float
    """Time since an arbitrary start."""
    thread: float | None
    """Processor time of the calling thread."""
    own: float | None
    """Processor time of all threads of this process."""
    busy: float | None
    """Processor time of all processes on all cores."""
    stolen: float | None
    """Time, summed over cores, in which a core had work but the hypervisor ran another virtual machine."""
    switches: int | None
    """Involuntary context switches of the calling thread."""
    instructions: int | None = None
    """Instructions that the calling thread has retired. None also if torch uses several threads."""


class Machine:
    """Observer of the machine around blocks of samples.

    Args:
        device: `cpu` or `cuda`, the device that runs the calibration.
        read: returns the current counters; None for `read_counters`.
        calibration: runs one calibration and returns its seconds; None for `calibrate`.
        cores: number of cores; None for all cores of this machine. The load is a share of their total time.
    """

    def __init__(
        self,
        *,
        device: str = "cpu",
        read: Callable[[], Reading] | None = None,
        calibration: Callable[[], float] | None = None,
        cores: int | None = None,
    ) -> None:
        self._read = read or read_counters
        self._calibration = calibration or functools.partial(calibrate, device=torch.device(device))
        self._cores = cores or psutil.cpu_count() or 1
        self._computes_here = torch.device(device).type == "cpu"
        self._past: deque[Reading] = deque([self._read()])

    def observe(self, work: Callable[[], Result]) -> tuple[Result, Block]:
        """Run `work` as one block of samples, and return its result and the noise around the block."""
        calibration_seconds = self._calibration()
        before = self._read()
        result = work()
        after = self._read()
        window = self._load_window_start(before, after)
        return result, Block(
            calibration_seconds=calibration_seconds,
            load=self._load(window, after),
            steal_share=self._share(window.stolen, after.stolen, window, after),
            waiting_share=self._waiting(before, after),
            switches=_increase(before.switches, after.switches),
            wall_seconds=max(0.0, after.wall - before.wall),
            cpu_seconds=_increase(before.own, after.own) if self._computes_here else None,
            instructions=_increase(before.instructions, after.instructions) if self._computes_here else None,
        )

    def _load_window_start(self, before: Reading, after: Reading) -> Reading:
        """Store `before`, and return the reading at the start of the window that ends with `after`.

        The window starts at the latest stored reading that is at least `WINDOW_SECONDS` before `after`. If there is no
        such reading, the window starts at the earliest stored reading. Readings before the window are discarded.
        """
        self._past.append(before)
        while len(self._past) > 1 and after.wall - self._past[1].wall >= WINDOW_SECONDS:
            self._past.popleft()
        return self._past[0]

    def _load(self, first: Reading, last: Reading) -> float | None:
        """Return the share of all cores' time from `first` to `last` that other processes used; None if unknown."""
        if first.own is None or last.own is None or first.busy is None or last.busy is None:
            return None
        return self._share(first.busy - first.own, last.busy - last.own, first, last)

    def _share(self, start: float | None, end: float | None, first: Reading, last: Reading) -> float | None:
        """Return a counter's increase as a share of all cores' time; None if unknown or if the window is too short.

        Args:
            start: counter in seconds at the start of the window.
            end: counter in seconds at the end of the window.
            first: reading at the start of the window.
            last: reading at the end of the window.
        """
        elapsed = last.wall - first.wall
        if start is None or end is None or elapsed < WINDOW_SECONDS:
            return None
        return min(1.0, max(0.0, (end - start) / (elapsed * self._cores)))

    def _waiting(self, before: Reading, after: Reading) -> float | None:
        """Return the share of the time from `before` to `after` in which the thread did not run; None if unknown.

        The share is also None on a GPU, because the thread waits for the GPU by design.
        """
        elapsed = after.wall - before.wall
        if not self._computes_here or before.thread is None or after.thread is None or elapsed <= 0:
            return None
        return min(1.0, max(0.0, 1 - (after.thread - before.thread) / elapsed))


def read_counters() -> Reading:
    """Return the current counters of the system, of this process and of the calling thread."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    stolen: float | None = getattr(times, "steal", None)
    own = time.process_time()
    # `user` already includes the time of guests.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Reading(
        wall=time.perf_counter(),
        thread=time.thread_time() if hasattr(time, "thread_time") else None,
        own=own,
        busy=total - idle - (stolen or 0.0) if sum(times) > 0 else None,
        stolen=stolen,
        switches=_switches(),
        instructions=instructions() if torch.get_num_threads() == 1 else None,
    )


def _increase(before: Number | None, after: Number | None) -> Number | None:
    """Return the increase of a counter, at least 0; None if a value is unknown."""
    return None if before is None or after is None else max(after - before, type(after)(0))


def calibrate(clock: Clock = time.perf_counter_ns, device: torch.device = CPU) -> float:
    """Return the seconds of one fixed matrix product on `device`. This time reveals changes in machine speed."""
    matrix, product = calibration_matrices() if device.type == "cpu" else _matrices(device)
    synchronise(device)
    started = clock()
    torch.mm(matrix, matrix, out=product)
    synchronise(device)
    return (clock() - started) / 1e9


def _matrices(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):  # so that both matrices can be used in either mode
        matrix = torch.full((CALIBRATION_SIZE[device.type],) * 2, 0.5, device=device)
        return matrix, torch.zeros_like(matrix)


@functools.cache
def calibration_matrices() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the operand and the output buffer of the CPU calibration: two float32 square matrices.

    The matrices are cached because a new allocation adds a sixth to the time of the product. On a GPU, they are not
    cached, because cached matrices count as memory of the measured model.
    """
    return _matrices(CPU)


def _switches() -> int | None:
    if sys.platform == "win32" or not hasattr(resource, "RUSAGE_THREAD"):
        return None
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
