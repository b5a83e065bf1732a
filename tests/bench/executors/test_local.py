"""Lanes with real processes: whatever a job does, the others finish and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from bench.executors.base import TRIES
from bench.executors.jobs import (
    Failure,
    Job,
    JobProgress,
    JobResult,
    JobStarted,
    TimeJob,
    TrainingResult,
    TrainJob,
    work_of,
)
from bench.executors.local import LocalExecutor
from bench.executors.worker_process import EDITED, Attempt, WorkerProcess, death
from bench.machine import lock
from bench.plans.plan import Timing
from results import Span
from tests.bench.misbehaving_jobs import chattering, trap
from tests.bench.tiny import tiny_case

HOME = Path(__file__).resolve().parents[3]
TIMEOUT_SECONDS = 0.5
"""What jobs without an end are given."""
PATIENCE_SECONDS = 60.0
"""How long a test waits for what must come, before it fails."""


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lanes_of_this_process() -> set[int]:
    return {child.pid or 0 for child in multiprocessing.active_children() if child.name.startswith("lane-")}


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def work(
    pool: LocalExecutor,
    jobs: Iterable[Job],
    timeout: float | None,
    *,
    fresh: bool = False,
    on_start: Callable[[Job], Any] = lambda job: None,
    on_begin: Callable[[JobStarted], Any] = lambda begun: None,
    on_advance: Callable[[JobProgress], Any] = lambda advance: None,
) -> Iterator[JobResult]:
    def started(worker: str, job: Job) -> None:
        on_start(job)

    def waits(worker: str, work: str) -> None:
        pass

    return pool.work(
        jobs,
        timeout=timeout,
        fresh=fresh,
        on_start=started,
        on_begin=on_begin,
        on_advance=on_advance,
        on_wait=waits,
    )


ENDING = ("exits", "raises", "looks", "has no memory", "allocates too much")


@pytest.fixture(autouse=True, scope="module")
def a_machine_of_ones_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lock, "lock_folder", lambda: folder)
        yield


@pytest.fixture(scope="module")
def worked() -> dict[str, Any]:
    """What came of a bad day: every way to fail, between cases that do not."""
    ending: dict[str, Job] = {
        "first": TrainJob(case=tiny_case(steps=3)),
        **{kind: trap(kind) for kind in ENDING},
        "last": TrainJob(case=tiny_case(seed=1)),
    }
    endless: dict[str, Job] = {"hangs": trap("hangs"), "chatters": chattering()}
    jobs = ending | endless
    names = {id(job): name for name, job in jobs.items()}
    started: list[str] = []
    begun: list[JobStarted] = []
    advances: list[JobProgress] = []
    results: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    seen: set[int] = set()
    before = lanes_of_this_process()
    with LocalExecutor(2) as pool:
        for some, timeout in ((ending, None), (endless, TIMEOUT_SECONDS)):
            for ended in work(
                pool,
                some.values(),
                timeout,
                on_start=lambda job: started.append(names[id(job)]),
                on_begin=begun.append,
                on_advance=advances.append,
            ):
                results[names[id(ended.job)]] = ended.result
                spans[names[id(ended.job)]] = ended.span
                seen |= lanes_of_this_process() - before
    return {
        "results": results,
        "started": started,
        "begun": begun,
        "advances": advances,
        "spans": spans,
        "seen": seen,
        "after": lanes_of_this_process() - before,
        "alive": [pid for pid in seen if not has_ended(pid)],
        "jobs": jobs,
    }


def test_every_job_ends_once(worked: dict[str, Any]) -> None:
    assert set(worked["results"]) == set(worked["jobs"])
    assert sorted(worked["started"]) == sorted(worked["jobs"])
    assert len(worked["begun"]) == len(worked["jobs"]) + TRIES - 1, "what ends its lane is begun again"
    assert all(begun.compiling_seconds >= 0 for begun in worked["begun"])


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("raises", "crashed", "LookupError at misbehaving_jobs.py:"),
        ("looks", "crashed", "imported []"),
        ("exits", "crashed", f"exit code 7, {TRIES} times"),
        ("hangs", "timeout", "no result within 0.5 s"),
        ("chatters", "timeout", "no result within 0.5 s"),
        ("has no memory", "out_of_memory", "needs more memory"),
        ("allocates too much", "out_of_memory", "can't allocate memory: you tried 10 TB"),
    ],
)
def test_each_failure_has_its_status_and_reason(worked: dict[str, Any], kind: str, status: str, reason: str) -> None:
    failure = worked["results"][kind]
    assert isinstance(failure, Failure)
    assert failure.status == status
    assert reason in failure.reason
    assert "\n" not in failure.reason


def test_a_lane_that_holds_too_much_is_ended_and_one_that_died_once_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_TEST_MARKER", str(tmp_path / "marker"))
    allowed = 1 << 30
    with LocalExecutor(2, memory_bytes=allowed) as pool:
        results = {ended.job.cases[0]: ended for ended in work(pool, map(trap, ("grows", "dies once")), None)}
    grown, again = (next(e.result for c, e in results.items() if c == trap(k).case) for k in ("grows", "dies once"))
    assert isinstance(grown, Failure)
    assert grown.status == "out_of_memory"
    assert "more than the 1,024 MiB allowed" in grown.reason
    assert isinstance(again, Failure), "the trap is no case: what is asked of it next is missing"
    assert (tmp_path / "marker").exists()
    assert "AttributeError at" in again.reason, "its second lane lived"


def test_a_lane_that_starts_after_the_code_was_edited_measures_nothing() -> None:
    with LocalExecutor(1, code="0000000000") as pool:
        (ended,) = work(pool, [TrainJob(case=tiny_case())], None)
    assert ended.result == Failure("crashed", EDITED)


def test_a_process_that_times_has_not_trained_and_is_fresh_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    born: list[str] = []

    def attempts(worker: Any, job: Job, timeout: float | None, *_: object) -> Attempt:
        born.append("old" if worker.did - {work_of(job)} or worker.alive else "new")
        worker.alive = True
        return Attempt(None, 0.0, 1.0)

    def ends(worker: Any) -> None:
        worker.alive, worker.did = False, set()

    monkeypatch.setattr(WorkerProcess, "alive", False, raising=False)
    monkeypatch.setattr(WorkerProcess, "run", attempts)
    monkeypatch.setattr(WorkerProcess, "end", ends)
    train = TrainJob(case=tiny_case())
    time_ = TimeJob(cases=(tiny_case(),), weights=(b"",), probes=("latency",), timing=Timing())
    for fresh, expected in ((False, ["new", "old", "new", "old"]), (True, ["new", "old", "new", "new"])):
        born.clear()
        with LocalExecutor(1) as pool:
            for job in (train, train, time_, time_):
                list(work(pool, [job], None, fresh=fresh))
        assert born == expected


def test_the_other_cases_are_trained_all_the_same(worked: dict[str, Any]) -> None:
    for name in ("first", "last"):
        trained = worked["results"][name]
        assert isinstance(trained, TrainingResult)
        assert trained.record.key == worked["jobs"][name].case.key
        assert trained.record.status == "ok"
        assert trained.record.training is not None
        assert trained.record.training.flushes_denormals is True
        assert trained.record.training.threads == 1


def test_progress_is_told_as_it_comes(worked: dict[str, Any]) -> None:
    first = [(advance.done, advance.total) for advance in worked["advances"] if advance.total == 3]
    assert first == [(1, 3), (2, 3), (3, 3)]


def test_lost_lanes_are_replaced_and_none_is_left_behind(worked: dict[str, Any]) -> None:
    assert len(worked["seen"]) > 2
    assert worked["after"] == set()
    assert worked["alive"] == []


def test_no_lane_is_left_behind_by_an_exception_or_in_the_middle_of_a_job() -> None:
    before = lanes_of_this_process()
    started: list[Job] = []

    def fails_at_the_third(job: Job) -> None:
        assert eventually(lambda: len(lanes_of_this_process() - before) == len(started))
        started.append(job)
        1 // (3 - len(started))

    with pytest.raises(ZeroDivisionError), LocalExecutor(3) as pool:
        for _ in work(pool, [trap("hangs")] * 3, None, on_start=fails_at_the_third):
            raise AssertionError("no job ends here")
    assert len(started) == 3
    assert eventually(lambda: lanes_of_this_process() <= before)


PARENT = """
import threading
import time
from bench.executors.local import LocalExecutor
from tests.bench.misbehaving_jobs import trap

if __name__ == "__main__":
    with LocalExecutor(1) as pool:
        def tell():
            while getattr(pool._workers[0]._process, "pid", None) is None:
                time.sleep(0.01)
            print(pool._workers[0]._process.pid, flush=True)
        ignore = lambda *_: None
        calls = dict.fromkeys(("on_start", "on_begin", "on_advance", "on_wait"), ignore)
        threading.Thread(target=tell, daemon=True).start()
        list(pool.work([trap("hangs")], timeout=None, fresh=False, **calls))
"""


def test_a_lane_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
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
def test_a_killed_lane_is_taken_for_one_without_memory(code: int | None, status: str) -> None:
    failure = death(code)
    assert failure.status == status
    assert failure.status == "out_of_memory" or str(code) in failure.reason


def test_a_mistake_in_driving_a_lane_is_raised_and_not_waited_for() -> None:
    class CheckFailed:
        name = "0"
        did: ClassVar[set[str]] = set()

        def run(self, *_: object) -> None:
            raise RuntimeError("cannot be sent")

    pool = LocalExecutor(0)
    pool._workers = [CheckFailed()]  # type: ignore[list-item]
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            list(work(pool, [trap("raises")], None))
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(5)
    assert [str(error) for error in raised] == ["cannot be sent"]
