"""What the machine did around a block of samples: its pulse, the work of others, and how long the thread stood still.

Both the readings and the pulse come from outside, so that the arithmetic is tested with a load that is made up.
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

from bench.machine.timer import Clock, synchronise
from results import Block

if sys.platform != "win32":
    import resource

CALIBRATION_SIZE = {"cpu": 640, "cuda": 4096}
"""A product of matrices this wide takes 3 to 10 ms on a core, or on a GPU."""
WINDOW_SECONDS = 0.25
"""The system counts the work of all in hundredths of a second. Over a shorter block they would say little, so the load
is that of the last quarter of a second up to the block's end, our own work between blocks left out as well."""

CPU = torch.device("cpu")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters at one moment, in seconds since some beginning; None where the system keeps none."""

    wall: float
    thread: float | None
    """Processor time of the thread that reads."""
    own: float | None
    """Processor time of this process, all threads."""
    busy: float | None
    """Processor time of all processes on all cores."""
    stolen: float | None
    """Time that the hypervisor gave to others while a core here had work, on all cores."""
    switches: int | None


class Machine:
    """Watches the machine around blocks of samples."""

    def __init__(
        self,
        *,
        device: str = "cpu",
        read: Callable[[], Reading] | None = None,
        beat: Callable[[], float] | None = None,
        cores: int | None = None,
    ) -> None:
        self._read = read or read_counters
        self._beat = beat or functools.partial(pulse, device=torch.device(device))
        self._cores = cores or psutil.cpu_count() or 1
        self._computes_here = torch.device(device).type == "cpu"
        self._past: deque[Reading] = deque([self._read()])

    def around(self, work: Callable[[], Result]) -> tuple[Result, Block]:
        """The result of one block, and what happened around it."""
        beat = self._beat()
        before = self._read()
        result = work()
        after = self._read()
        window = self._window_before(before, after)
        return result, Block(
            calibration_seconds=beat,
            load=self._load(window, after),
            steal_share=self._share(window.stolen, after.stolen, window, after),
            waiting_share=self._waiting(before, after),
            switches=None
            if before.switches is None or after.switches is None
            else max(0, after.switches - before.switches),
        )

    def _window_before(self, before: Reading, after: Reading) -> Reading:
        """The reading from which the load up to `after` is counted: the latest long enough ago, or the first."""
        self._past.append(before)
        while len(self._past) > 1 and after.wall - self._past[1].wall >= WINDOW_SECONDS:
            self._past.popleft()
        return self._past[0]

    def _load(self, first: Reading, last: Reading) -> float | None:
        if first.own is None or last.own is None or first.busy is None or last.busy is None:
            return None
        return self._share(first.busy - first.own, last.busy - last.own, first, last)

    def _share(self, counted: float | None, then: float | None, first: Reading, last: Reading) -> float | None:
        """What was counted between two readings, of all cores' time; None where the window is too short to tell."""
        elapsed = last.wall - first.wall
        if counted is None or then is None or elapsed < WINDOW_SECONDS:
            return None
        return min(1.0, max(0.0, (then - counted) / (elapsed * self._cores)))

    def _waiting(self, before: Reading, after: Reading) -> float | None:
        """On another device the thread waits by design, and that says nothing."""
        elapsed = after.wall - before.wall
        if not self._computes_here or before.thread is None or after.thread is None or elapsed <= 0:
            return None
        return min(1.0, max(0.0, 1 - (after.thread - before.thread) / elapsed))


def read_counters() -> Reading:
    """The counters of this system, of this process and of the calling thread."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    stolen: float | None = getattr(times, "steal", None)
    own = time.process_time()
    # Guests are part of `user`, and counted there.
    counted = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Reading(
        wall=time.perf_counter(),
        thread=time.thread_time() if hasattr(time, "thread_time") else None,
        own=own,
        busy=counted - idle - (stolen or 0.0) if sum(times) > 0 else None,
        stolen=stolen,
        switches=_switches(),
    )


def pulse(clock: Clock = time.perf_counter_ns, device: torch.device = CPU) -> float:
    """Seconds that a fixed matrix product takes now: stored beside samples, so that drift can be seen."""
    matrix, product = kept_matrices() if device.type == "cpu" else _matrices(device)
    synchronise(device)
    started = clock()
    torch.mm(matrix, matrix, out=product)
    synchronise(device)
    return (clock() - started) / 1e9


def _matrices(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False):  # so that they serve in either mode
        matrix = torch.full((CALIBRATION_SIZE[device.type],) * 2, 0.5, device=device)
        return matrix, torch.zeros_like(matrix)


@functools.cache
def kept_matrices() -> tuple[torch.Tensor, torch.Tensor]:
    """Those of the processor: fresh memory takes a sixth as long as the product. On a GPU they would count as used."""
    return _matrices(CPU)


def _switches() -> int | None:
    if sys.platform == "win32" or not hasattr(resource, "RUSAGE_THREAD"):
        return None
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
