"""The local executor with real processes: if one job fails, the others finish and no process remains."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from bench.executors import worker_process
from bench.executors.base import MAX_TRIES
from bench.executors.jobs import Failure, Job, TimeJob, TrainingResult, TrainJob
from bench.executors.local import LocalExecutor
from bench.executors.worker_process import SOURCE_CHANGED, Attempt, WorkerProcess, exit_failure
from bench.machine import lock
from bench.plans.plan import Timing
from tests.bench.events import NoEvents, RecordedEvents
from tests.bench.misbehaving_jobs import chattering, trap
from tests.bench.tiny import tiny_case

HOME = Path(__file__).resolve().parents[3]
TIMEOUT_SECONDS = 0.5
"""Time limit of jobs that never end, in seconds."""
PATIENCE_SECONDS = 60.0
"""Longest wait for an event that must happen, in seconds. If it takes longer, the test fails."""


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def worker_pids() -> set[int]:
    return {child.pid or 0 for child in multiprocessing.active_children() if child.name.startswith("worker-")}


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


ENDING = ("exits", "raises", "reports imports", "has no memory", "allocates too much")


@pytest.fixture(autouse=True, scope="module")
def own_machine_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lock, "lock_folder", lambda: folder)
        yield


@dataclass(frozen=True, kw_only=True)
class Executed:
    """Jobs that the fixture `executed` has run, with their results, events and processes."""

    jobs: dict[str, Job]
    results: dict[str, Any]
    events: RecordedEvents
    seen: set[int]
    """Ids of the worker processes that existed while the jobs ran."""
    remaining: set[int]
    """Ids of the worker processes that remained after the executor's context was left."""


@pytest.fixture(scope="module")
def executed() -> Executed:
    """Run failing jobs between two successful jobs. Afterwards, run jobs that never end, with a time limit."""
    ending: dict[str, Job] = {
        "first": TrainJob(case=tiny_case(steps=3)),
        **{kind: trap(kind) for kind in ENDING},
        "last": TrainJob(case=tiny_case(seed=1)),
    }
    endless: dict[str, Job] = {"hangs": trap("hangs"), "chatters": chattering()}
    jobs = ending | endless
    names = {id(job): name for name, job in jobs.items()}
    events = RecordedEvents()
    results: dict[str, Any] = {}
    seen: set[int] = set()
    before = worker_pids()
    with LocalExecutor(2) as executor:
        for some, timeout in ((ending, None), (endless, TIMEOUT_SECONDS)):
            for ended in executor.run(some.values(), timeout=timeout, fresh=False, events=events):
                results[names[id(ended.job)]] = ended.result
                seen |= worker_pids() - before
    return Executed(jobs=jobs, results=results, events=events, seen=seen, remaining=worker_pids() - before)


def test_every_job_ends_once(executed: Executed) -> None:
    assert set(executed.results) == set(executed.jobs)
    assert sorted(map(id, executed.events.assigned)) == sorted(map(id, executed.jobs.values()))
    assert len(executed.events.started) == len(executed.jobs) + MAX_TRIES - 1, "a job whose worker exits starts again"
    assert all(event.compiling_seconds >= 0 for event in executed.events.started)


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("raises", "crashed", "LookupError at misbehaving_jobs.py:"),
        ("reports imports", "crashed", "imported []"),
        ("exits", "crashed", f"exit code 7, in each of {MAX_TRIES} tries: OSError: its last words"),
        ("hangs", "timeout", "no result within 0.5 s"),
        ("chatters", "timeout", "no result within 0.5 s"),
        ("has no memory", "out_of_memory", "needs more memory"),
        ("allocates too much", "out_of_memory", "can't allocate memory: you tried 10 TB"),
    ],
)
def test_each_failure_has_its_status_and_reason(executed: Executed, kind: str, status: str, reason: str) -> None:
    failure = executed.results[kind]
    assert isinstance(failure, Failure)
    assert failure.status == status
    assert reason in failure.reason
    assert "\n" not in failure.reason


@pytest.mark.slow
def test_a_process_with_too_much_memory_is_ended_and_a_job_whose_process_died_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_TEST_MARKER", str(tmp_path / "marker"))
    allowed = 1 << 30
    jobs = {kind: trap(kind) for kind in ("grows", "dies once")}
    with LocalExecutor(2, memory_bytes=allowed) as executor:
        ended = list(executor.run(jobs.values(), timeout=None, fresh=False, events=NoEvents()))
    grown, retried = (next(e.result for e in ended if e.job == job) for job in jobs.values())
    assert isinstance(grown, Failure)
    assert grown.status == "out_of_memory"
    assert "more than the 1,024 MiB allowed" in grown.reason
    assert isinstance(retried, Failure), "the trap lacks the other attributes of a case"
    assert (tmp_path / "marker").exists()
    assert "AttributeError at" in retried.reason, "the second process survived"


def test_a_process_that_starts_after_the_source_has_changed_measures_nothing() -> None:
    with LocalExecutor(1, code="0000000000") as executor:
        (ended,) = executor.run([TrainJob(case=tiny_case())], timeout=None, fresh=False, events=NoEvents())
    assert ended.result == Failure("crashed", SOURCE_CHANGED)


def test_timing_processes_have_not_trained_and_are_new_if_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[str] = []

    def run(worker: Any, job: Job, *_: object) -> Attempt:
        processes.append("old" if worker.past_work - {job.work} or worker.alive else "new")
        worker.alive = True
        return Attempt(None, 0.0, 1.0)

    def end(worker: Any) -> None:
        worker.alive, worker.past_work = False, set()

    monkeypatch.setattr(WorkerProcess, "alive", False, raising=False)
    monkeypatch.setattr(WorkerProcess, "run", run)
    monkeypatch.setattr(WorkerProcess, "end", end)
    train = TrainJob(case=tiny_case())
    time_ = TimeJob(cases=(tiny_case(),), weights=(b"",), probes=("latency",), timing=Timing())
    for fresh, expected in ((False, ["new", "old", "new", "old"]), (True, ["new", "old", "new", "new"])):
        processes.clear()
        with LocalExecutor(1) as executor:
            for job in (train, train, time_, time_):
                list(executor.run([job], timeout=None, fresh=fresh, events=NoEvents()))
        assert processes == expected


def test_a_prepared_process_times_the_next_job() -> None:
    time_ = TimeJob(cases=(tiny_case(),), weights=(b"",), probes=("latency",), timing=Timing())
    events = RecordedEvents()
    before = worker_pids()
    with LocalExecutor(1) as executor:
        executor.prepare(("rnn",), run="mine", events=events)
        prepared = worker_pids() - before
        assert len(prepared) == 1
        (ended,) = executor.run([time_], timeout=None, fresh=True, events=events)
        assert worker_pids() - before == prepared
    assert ended.result.status == "crashed"


def test_a_process_that_cannot_be_prepared_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "STARTUP_SECONDS", 0.0)
    before = worker_pids()
    WorkerProcess("0").prepare(("rnn",))
    assert worker_pids() == before


def test_the_other_cases_are_trained(executed: Executed) -> None:
    for name in ("first", "last"):
        trained = executed.results[name]
        assert isinstance(trained, TrainingResult)
        assert trained.record.key == executed.jobs[name].cases[0].key
        assert trained.record.status == "ok"
        assert trained.record.training is not None
        assert trained.record.training.flushes_denormals is True
        assert trained.record.training.threads == 1


def test_progress_is_reported_at_every_step(executed: Executed) -> None:
    steps = [(event.step, event.total_steps) for event in executed.events.progress if event.total_steps == 3]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_lost_processes_are_replaced_and_none_remains(executed: Executed) -> None:
    assert len(executed.seen) > 2
    assert executed.remaining == set()
    assert [pid for pid in executed.seen if not has_ended(pid)] == []


def test_no_process_remains_after_an_exception_in_the_middle_of_jobs() -> None:
    before = worker_pids()
    assigned: list[Job] = []

    class FailingEvents(NoEvents):
        def job_assigned(self, worker: str, job: Job) -> None:
            assert eventually(lambda: len(worker_pids() - before) == len(assigned))
            assigned.append(job)
            1 // (3 - len(assigned))

    with pytest.raises(ZeroDivisionError), LocalExecutor(3) as executor:
        for _ in executor.run([trap("hangs")] * 3, timeout=None, fresh=False, events=FailingEvents()):
            raise AssertionError("no job ends here")
    assert len(assigned) == 3
    assert eventually(lambda: worker_pids() <= before)


PARENT = """
import threading
import time
from bench.executors.local import LocalExecutor
from tests.bench.events import NoEvents
from tests.bench.misbehaving_jobs import trap

if __name__ == "__main__":
    with LocalExecutor(1) as executor:
        def print_pid():
            while getattr(executor._workers[0]._process, "pid", None) is None:
                time.sleep(0.01)
            print(executor._workers[0]._process.pid, flush=True)
        threading.Thread(target=print_pid, daemon=True).start()
        list(executor.run([trap("hangs")], timeout=None, fresh=False, events=NoEvents()))
"""


@pytest.mark.slow
def test_a_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            worker = int(parent.stdout.readline())
            assert not has_ended(worker)
        finally:
            parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert eventually(lambda: has_ended(worker))


@pytest.mark.parametrize(
    ("code", "status"), [(-9, "out_of_memory"), (1, "crashed"), (-11, "crashed"), (0, "crashed"), (None, "crashed")]
)
def test_a_killed_process_counts_as_out_of_memory(code: int | None, status: str) -> None:
    failure = exit_failure(code)
    assert failure.status == status
    assert failure.status == "out_of_memory" or str(code) in failure.reason


def test_an_error_in_the_thread_of_a_worker_is_raised() -> None:
    class BrokenWorker:
        name = "0"
        past_work: ClassVar[set[str]] = set()

        def run(self, *_: object) -> None:
            raise RuntimeError("cannot be sent")

    executor = LocalExecutor(0)
    executor._workers = [BrokenWorker()]  # type: ignore[list-item]
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            list(executor.run([trap("raises")], timeout=None, fresh=False, events=NoEvents()))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(5)
    assert [str(error) for error in raised] == ["cannot be sent"]
