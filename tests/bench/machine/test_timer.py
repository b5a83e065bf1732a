"""Tests of timing, memory and graph recording on a simulated GPU, and of the check of `--device`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import pytest
import torch

from bench.commands.run import check_device
from bench.errors import UsageError
from bench.machine.memory import watch_memory
from bench.machine.timer import seconds_per_call, synchronise
from bench.probes.stream import WARM_UP_STEPS, cuda_graph

CUDA = torch.device("cuda")


def test_missing_device_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^--device cuda: torch finds no CUDA device .*; use --device cpu$"):
        check_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("cuda")
    for other in ("cuda:1", "CUDA", "mps", ""):
        with pytest.raises(UsageError, match=r"^--device must be cpu or cuda, not "):
            check_device(other)


class Gpu:
    """A simulated GPU with a log of its operations and a clock that advances by 3 ms per call."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now = 0.0
        self.allocated, self.peak = 100, 400

    def call(self) -> None:
        self.log.append("call")
        self.now += 3.0

    def logger(self, operation: str) -> Any:
        def log(*_: Any) -> None:
            self.log.append(operation)

        return log


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    simulated = Gpu()

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            simulated.log.append("record")
            self.at = simulated.now

        def elapsed_time(self, ended: Self) -> float:
            return ended.at - self.at

    class Stream:
        def wait_stream(self, other: object) -> None:
            simulated.log.append("wait")

    class Graph:
        replay = staticmethod(simulated.logger("replay"))

    @contextlib.contextmanager
    def within(name: str) -> Iterator[None]:
        simulated.log.append(f"begin {name}")
        yield
        simulated.log.append(f"end {name}")

    for attribute, replacement in {
        "Event": Event,
        "synchronize": simulated.logger("synchronise"),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: within("side stream"),
        "CUDAGraph": Graph,
        "graph": lambda graph: within("recording"),
        "reset_peak_memory_stats": simulated.logger("reset"),
        "memory_allocated": lambda device: simulated.allocated,
        "max_memory_allocated": lambda device: simulated.peak,
    }.items():
        monkeypatch.setattr(torch.cuda, attribute, replacement)
    return simulated


def test_gpu_calls_are_timed_between_two_events(gpu: Gpu) -> None:
    assert seconds_per_call(gpu.call, 4, CUDA) == 0.003
    assert gpu.log == ["synchronise", "record", *["call"] * 4, "record", "synchronise"]


def test_cpu_calls_are_timed_without_the_gpu(gpu: Gpu) -> None:
    calls: list[int] = []
    assert seconds_per_call(lambda: calls.append(1), 7, torch.device("cpu")) >= 0
    assert len(calls) >= 7
    synchronise(torch.device("cpu"))
    assert gpu.log == []


def test_gpu_memory_is_read_from_the_allocator(gpu: Gpu) -> None:
    with watch_memory(CUDA) as memory:
        gpu.log.append("work")
    assert gpu.log == ["synchronise", "reset", "work", "synchronise"]
    assert (memory.before, memory.peak) == (100, 400)


def test_step_is_warmed_up_on_a_side_stream_and_recorded_once(gpu: Gpu) -> None:
    replay = cuda_graph(gpu.call)
    warm_up = ["wait", "begin side stream", *["call"] * WARM_UP_STEPS, "end side stream", "wait"]
    assert gpu.log == [*warm_up, "begin recording", "call", "end recording"]
    replay()
    assert gpu.log[-1] == "replay"
