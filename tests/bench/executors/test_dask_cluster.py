"""A dask cluster on this machine: a run survives the loss of a worker, and unsuitable workers are refused."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import OK, USAGE
from bench.executors import dask_cluster
from results import Record, Span, Store, Tuning
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.loopback_cluster import HOME, PATIENCE_SECONDS, LoopbackCluster, loopback_cluster
from tests.bench.runs import like_a_worker, reproducible_content, request_for, run_quietly
from tests.bench.tiny import GRID, TINY, write_plan

__all__ = ["carousel", "inline", "like_a_worker"]

CLOCK_TOLERANCE_SECONDS = 1e-3
"""Tolerance for spans of two processes, which read their wall clocks separately. Real overlaps are far longer."""


def overlapping_timings(records: dict[str, Record]) -> list[tuple[Span, Span]]:
    """Return the pairs of overlapping spans on one host in which at least one span is a timing."""
    spans = {span for record in records.values() for span in record.spans}
    return [
        (first, second)
        for first, second in itertools.combinations(sorted(spans, key=lambda span: span.began), 2)
        if "timing" in (first.work, second.work)
        and first.worker.partition("/")[0] == second.worker.partition("/")[0]
        and second.began < first.ended - CLOCK_TOLERANCE_SECONDS
    ]


def test_overlapping_timings_are_detected(tmp_path: Path, inline: Inline) -> None:
    (record, *_) = run_quietly(request_for(tmp_path, seeds=1)).records

    def records_with(*spans: tuple[str, str, float, float]) -> dict[str, Record]:
        made_spans = tuple(Span(work=w, worker=worker, began=began, ended=ended) for w, worker, began, ended in spans)  # type: ignore[arg-type]
        return {record.key: record.model_copy(update={"spans": made_spans})}

    timing = ("timing", "host0/worker0/0", 10.0, 20.0)
    assert overlapping_timings(records_with(timing, timing)) == [], "two cases of one group"
    assert overlapping_timings(records_with(timing, ("training", "host1/worker1/0", 12.0, 15.0))) == []
    assert overlapping_timings(records_with(timing, ("training", "host0/worker1/0", 5.0, 10.0))) == []
    assert len(overlapping_timings(records_with(timing, ("training", "host0/worker1/0", 5.0, 11.0)))) == 1
    assert len(overlapping_timings(records_with(timing, ("timing", "host0/worker1/0", 15.0, 16.0)))) == 1
    both_train = [("training", f"host0/worker{n}/0", 0.0, 9.0) for n in range(2)]
    assert overlapping_timings(records_with(*both_train)) == []


@pytest.mark.slow
def test_a_run_completes_after_a_dask_worker_is_killed(tmp_path: Path, inline: Inline) -> None:
    plan, store = write_plan(tmp_path), tmp_path / "runs"
    with loopback_cluster(tmp_path) as cluster:
        dask_workers = [cluster.worker("--no-nanny") for _ in range(2)]
        driver = cluster.carousel(str(plan), "--store", str(store), "--repeat", "2")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(b'"timing"' in path.read_bytes() for path in store.glob("*/records/*.json")):
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        dask_workers[1].kill()
        output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == OK, output.decode()
    (run,) = Store(store).runs()
    records, damaged = run.read()
    assert damaged == []
    assert {record.repetitions for record in records.values()} == {2}
    workers = {span.worker for record in records.values() for span in record.spans}
    assert workers == {"host0/worker0/0", "host0/worker1/0"}, "both dask workers took part"
    assert overlapping_timings(records) == []
    assert reproducible_content(run) == reproducible_content(run_quietly(request_for(tmp_path, repeat=2)).run)


@pytest.mark.slow
def test_two_dask_workers_tune_as_this_machine_does(tmp_path: Path, inline: Inline) -> None:
    plan, store = write_plan(tmp_path, TINY + GRID), tmp_path / "runs"
    with loopback_cluster(tmp_path) as cluster:
        for _ in range(2):
            cluster.worker("--no-nanny")
        driver = cluster.carousel(str(plan), "--store", str(store), "--measure", "accuracy")
        output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == OK, output.decode()
    (run,) = Store(store).runs()
    tuning = Tuning(learning_rates=(1e-3, 1e-2), seeds=1)
    local = run_quietly(request_for(tmp_path / "local", tuning=tuning, measure=("accuracy",)))
    assert reproducible_content(run) == reproducible_content(local.run)
    records = run.read()[0].values()
    assert {record.training.learning_rate_source for record in records if record.training} == {"plan", "tuned"}


def edited_copy(folder: Path) -> Path:
    """Copy Carousel to `folder`, edit a source file that is part of the code digest, and return `folder`."""
    for package in ("arch", "tasks", "bench", "results", "reports"):
        shutil.copytree(HOME / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "arch" / "rnn.py").open("a") as file:
        file.write("# edited\n")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with loopback_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("no scheduler", "no dask scheduler answers at this address"),
        ("no port", "missing port number in address 'nowhere'"),
        ("no file", "No such file or directory: 'missing.json'"),
        ("no protocol", "unknown address scheme 'foo'"),
        ("no worker", "it has no workers; start one with `dask worker tcp://"),
        ("a nanny", "cannot start child processes; restart it with --no-nanny"),
        ("different code", "install the same version and restart it"),
    ],
)
def test_an_unsuitable_cluster_is_a_one_line_error_before_anything_runs(
    tmp_path: Path,
    cluster: LoopbackCluster,
    carousel: Carousel,
    monkeypatch: pytest.MonkeyPatch,
    problem: str,
    message: str,
) -> None:
    """Check the error, and that no store is created. All problems share a scheduler, so each worker is ended."""
    address, worker = cluster.address, None
    if problem.startswith("no "):
        monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)  # nothing answers, however long the wait
    match problem:
        case "no scheduler":
            address = "tcp://127.0.0.1:1"
        case "no port":
            address = "nowhere"
        case "no file":
            address = "missing.json"
        case "no protocol":
            address = "foo://127.0.0.1:1"
        case "a nanny":
            worker = cluster.worker("--nanny")
        case "different code":
            worker = cluster.worker("--no-nanny", PYTHONPATH=str(edited_copy(tmp_path / "other")))
    try:
        completed = carousel("run", "tiny.toml", "--store", "runs", "--scheduler", address)
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(PATIENCE_SECONDS)
    assert completed.code == USAGE
    assert message in completed.err
    assert completed.err.startswith("carousel: ")
    assert completed.err.count("\n") == 1
    assert completed.out == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("address", ["nowhere", "tcp://127.0.0.1:1"])
def test_a_client_that_never_connected_is_silent(address: str) -> None:
    """Run another process, because dask reports the error when the process ends and deletes the client."""
    program = (
        "from bench.executors import dask_cluster\ndask_cluster.CONNECT_SECONDS = 0.5\n"
        f"try:\n    dask_cluster.DaskExecutor({address!r}, code='')\nexcept ValueError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert f"--scheduler {address}: no dask scheduler answers" in ended.stdout
    assert ended.stderr == ""


def test_a_scheduler_needs_the_cluster_extra(
    tmp_path: Path, carousel: Carousel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    completed = carousel("run", "tiny.toml", "--store", "runs", "--scheduler", "tcp://127.0.0.1:1")
    assert completed.code == USAGE
    assert completed.err == "carousel: --scheduler needs dask: run `pip install '.[cluster]'` in a clone of Carousel\n"
    assert completed.out == ""
    assert not (tmp_path / "runs").exists()
