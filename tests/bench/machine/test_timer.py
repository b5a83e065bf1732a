"""Timing and memory on a GPU, with one that is made up: what is queued, waited for, counted and recorded, in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import pytest
import torch

from bench.commands.run import check_device
from bench.errors import UsageError
from bench.machine.memory import watch_memory
from bench.machine.timer import seconds_a_call, synchronise
from bench.probes.stream import WARM_UPS, cuda_graph

CUDA = torch.device("cuda")


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^--device cuda: torch finds no CUDA device .*; use --device cpu$"):
        check_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_device("cuda")
    for other in ("cuda:1", "CUDA", "mps", ""):
        with pytest.raises(UsageError, match=r"^--device must be cpu or cuda, not "):
            check_device(other)


class Gpu:
    """Keeps what it is asked in order, and a clock of its own that moves by 3 ms with every call to be timed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = 0.0
        self.allocated, self.most = 100, 400

    def call(self) -> None:
        self.asked.append("call")
        self.now += 3.0

    def note(self, word: str) -> Any:
        def noted(*_: Any) -> None:
            self.asked.append(word)

        return noted


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu()

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            found.asked.append("record")
            self.at = found.now

        def elapsed_time(self, ended: Self) -> float:
            return ended.at - self.at

    class Stream:
        def wait_stream(self, other: object) -> None:
            found.asked.append("wait")

    class Graph:
        replay = staticmethod(found.note("replay"))

    @contextlib.contextmanager
    def within(word: str) -> Iterator[None]:
        found.asked.append(f"begin {word}")
        yield
        found.asked.append(f"end {word}")

    for name, stand_in in {
        "Event": Event,
        "synchronize": found.note("synchronise"),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: within("aside"),
        "CUDAGraph": Graph,
        "graph": lambda graph: within("recording"),
        "reset_peak_memory_stats": found.note("reset"),
        "memory_allocated": lambda device: found.allocated,
        "max_memory_allocated": lambda device: found.most,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return found


def test_calls_are_timed_between_two_events_of_the_gpu(gpu: Gpu) -> None:
    assert seconds_a_call(gpu.call, 4, CUDA) == 0.003
    assert gpu.asked == ["synchronise", "record", *["call"] * 4, "record", "synchronise"]


def test_the_processor_is_timed_without_a_gpu(gpu: Gpu) -> None:
    calls: list[int] = []
    assert seconds_a_call(lambda: calls.append(1), 7, torch.device("cpu")) >= 0
    assert len(calls) >= 7
    synchronise(torch.device("cpu"))
    assert gpu.asked == []


def test_memory_is_what_the_allocator_counts(gpu: Gpu) -> None:
    with watch_memory(CUDA) as memory:
        gpu.asked.append("work")
    assert gpu.asked == ["synchronise", "reset", "work", "synchronise"]
    assert (memory.before, memory.peak) == (100, 400)


def test_a_step_is_warmed_up_aside_and_recorded_once(gpu: Gpu) -> None:
    replay = cuda_graph(gpu.call)
    warming = ["wait", "begin aside", *["call"] * WARM_UPS, "end aside", "wait"]
    assert gpu.asked == [*warming, "begin recording", "call", "end recording"]
    replay()
    assert gpu.asked[-1] == "replay"
