"""Two workers on loopback, one killed in the middle: the run completes, and nothing was timed beside anything."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import OK, USAGE
from bench.executors import dask_cluster
from results import Record, Span, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.loopback_cluster import HOME, PATIENCE_SECONDS, LoopbackCluster, loopback_cluster
from tests.bench.runs import as_in_a_lane, everything, request_for, run_quietly
from tests.bench.tiny import write_plan

__all__ = ["as_in_a_lane", "carousel", "inline"]

EXACT_SECONDS = 1e-3
"""Spans of two processes are placed by two readings of the wall clock; a lane's start alone takes far longer."""


def disturbed(records: dict[str, Record]) -> list[tuple[Span, Span]]:
    """Pairs of spans of which one is a timing, and both went on at once on one host."""
    spans = {span for record in records.values() for span in record.spans}
    return [
        (one, other)
        for one, other in itertools.combinations(sorted(spans, key=lambda span: span.began), 2)
        if "timing" in (one.work, other.work)
        and one.worker.partition("/")[0] == other.worker.partition("/")[0]
        and other.began < one.ended - EXACT_SECONDS
    ]


def test_a_timing_beside_anything_would_be_seen(tmp_path: Path, inline: Inline) -> None:
    (record, *_) = run_quietly(request_for(tmp_path, seeds=1)).records

    def of(*spans: tuple[str, str, float, float]) -> dict[str, Record]:
        made = tuple(Span(work=w, worker=worker, began=began, ended=ended) for w, worker, began, ended in spans)  # type: ignore[arg-type]
        return {record.key: record.model_copy(update={"spans": made})}

    timing = ("timing", "host0/worker0/0", 10.0, 20.0)
    assert disturbed(of(timing, timing)) == [], "two cases of one group"
    assert disturbed(of(timing, ("training", "host1/worker1/0", 12.0, 15.0))) == []
    assert disturbed(of(timing, ("training", "host0/worker1/0", 5.0, 10.0))) == []
    assert len(disturbed(of(timing, ("training", "host0/worker1/0", 5.0, 11.0)))) == 1
    assert len(disturbed(of(timing, ("timing", "host0/worker1/0", 15.0, 16.0)))) == 1
    both_train = [("training", f"host0/worker{n}/0", 0.0, 9.0) for n in range(2)]
    assert disturbed(of(*both_train)) == []


def test_a_worker_is_killed_and_the_run_completes(tmp_path: Path, inline: Inline) -> None:
    plan, store = write_plan(tmp_path), tmp_path / "runs"
    with loopback_cluster(tmp_path) as cluster:
        workers = [cluster.worker("--no-nanny") for _ in range(2)]
        driver = cluster.carousel(str(plan), "--store", str(store), "--repeat", "2")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(b'"timing"' in path.read_bytes() for path in store.glob("*/records/*.json")):
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers[1].kill()
        output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == OK, output.decode()
    (run,) = Store(store).runs()
    records, damaged = run.read()
    assert damaged == []
    assert {record.repetitions for record in records.values()} == {2}
    workers = {span.worker for record in records.values() for span in record.spans}
    assert workers == {"host0/worker0/0", "host0/worker1/0"}, "both took part"
    assert disturbed(records) == []
    assert everything(run) == everything(run_quietly(request_for(tmp_path, repeat=2)).run)


def edited_copy(folder: Path) -> Path:
    """A Carousel in which one file that measures is not as it is here."""
    for room in ("arch", "tasks", "bench", "results", "reports"):
        shutil.copytree(HOME / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "arch" / "rnn.py").open("a") as file:
        file.write("# edited\n")
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with loopback_cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("nobody", "no dask scheduler answers there"),
        ("no worker", "it has no workers"),
        ("a nanny", "start it with --no-nanny"),
        ("other code", "install the same and start it again"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_runs(
    tmp_path: Path,
    cluster: LoopbackCluster,
    carousel: Carousel,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    says: str,
) -> None:
    """One scheduler serves all; whoever does not fit has left it before the next one comes."""
    address, worker = cluster.address, None
    if what.startswith("no"):
        monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)  # nobody comes, however long one waits
    match what:
        case "nobody":
            address = "tcp://127.0.0.1:1"
        case "a nanny":
            worker = cluster.worker("--nanny")
        case "other code":
            worker = cluster.worker("--no-nanny", PYTHONPATH=str(edited_copy(tmp_path / "other")))
    try:
        ended = carousel("run", "tiny.toml", "--store", "runs", "--scheduler", address)
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait(PATIENCE_SECONDS)
    assert ended.code == USAGE
    assert says in ended.err
    assert ended.err.startswith("carousel: ")
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert not (tmp_path / "runs").exists()
