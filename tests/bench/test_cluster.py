"""Two workers on loopback, one killed in the middle: the run completes, and nothing was timed beside anything."""

from __future__ import annotations

import itertools
import shutil
import time
from pathlib import Path

import pytest

from bench._errors import FAILED, OK, USAGE
from results import Record, Span, Store
from tests.bench.cluster import HOME, PATIENCE_SECONDS, loopback_cluster
from tests.bench.inline import Inline, inline
from tests.bench.runs import as_in_a_lane, everything, request_for, run_quietly
from tests.bench.tiny import write_plan

__all__ = ["as_in_a_lane", "inline"]

EXACT_SECONDS = 1e-3
"""Spans of two processes are placed by two readings of the wall clock; a lane's start alone takes far longer."""


def disturbed(records: dict[str, Record]) -> list[tuple[Span, Span]]:
    """Pairs of spans of which one is a timing, and both went on at once on one host."""
    spans = {span for record in records.values() for span in record.spans}
    return [
        (one, other)
        for one, other in itertools.combinations(sorted(spans, key=lambda span: span.began), 2)
        if "timing" in (one.work, other.work)
        and one.lane.partition("/")[0] == other.lane.partition("/")[0]
        and other.began < one.ended - EXACT_SECONDS
    ]


def test_a_timing_beside_anything_would_be_seen(tmp_path: Path, inline: Inline) -> None:
    (record, *_) = run_quietly(request_for(tmp_path, seeds=1)).records

    def of(*spans: tuple[str, str, float, float]) -> dict[str, Record]:
        made = tuple(Span(work=w, lane=lane, began=began, ended=ended) for w, lane, began, ended in spans)  # type: ignore[arg-type]
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
    lanes = {span.lane for record in records.values() for span in record.spans}
    assert lanes == {"host0/worker0/0", "host0/worker1/0"}, "both took part"
    assert disturbed(records) == []
    assert everything(run) == everything(run_quietly(request_for(tmp_path, repeat=2)).run)


def edited_copy(folder: Path) -> Path:
    """A Carousel in which one file that measures is not as it is here."""
    for room in ("arch", "tasks", "bench", "results", "reports"):
        shutil.copytree(HOME / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "arch" / "rnn.py").open("a") as file:
        file.write("# edited\n")
    return folder


@pytest.mark.parametrize("what", ["nobody", "no worker", "a nanny", "other code"])
def test_what_does_not_fit_is_one_line_before_anything_runs(tmp_path: Path, what: str) -> None:
    plan, store = write_plan(tmp_path), tmp_path / "runs"
    with loopback_cluster(tmp_path) as cluster:
        match what:
            case "nobody":
                cluster.address = "tcp://127.0.0.1:1"
                says = "no dask scheduler answers there"
            case "no worker":
                says = "it has no workers"
            case "a nanny":
                cluster.worker("--nanny")
                says = "start it with --no-nanny"
            case "other code":
                cluster.worker("--no-nanny", PYTHONPATH=str(edited_copy(tmp_path / "other")))
                says = "install the same and start it again"
        driver = cluster.carousel(str(plan), "--store", str(store))
        output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    lines = [line for line in output.decode().splitlines() if line.startswith("carousel: ")]
    assert driver.returncode == USAGE != FAILED, output.decode()
    assert len(lines) == 1
    assert says in lines[0]
    assert not store.exists()
