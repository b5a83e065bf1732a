"""Tiny runs in a folder, and the part of their content that must be reproducible."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.machine import lock
from bench.runner.request import Request
from bench.runner.run import Outcome, execute
from results import Record, Run
from tests.bench.tiny import tiny_plan


@pytest.fixture(autouse=True)
def like_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a machine lock of its own, and flush denormals as worker processes do."""
    monkeypatch.setattr(lock, "lock_folder", lambda: tmp_path)
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


def request_for(folder: Path, *, resume: bool = True, repeat: int = 1, **changes: Any) -> Request:
    plan = tiny_plan(folder, **changes)
    store, command = folder / "runs", "carousel run tiny.toml"
    return Request(plan_name="tiny", plan=plan, store=store, command=command, resume=resume, repeat=repeat)


def run_quietly(request: Request) -> Outcome:
    return execute(request, Console(file=io.StringIO()), quiet=True)


def files_of(run: Run) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (run.folder / "records").iterdir()}


def without_timings(record: Record) -> dict[str, Any]:
    """Return a record as a document, without the values that a clock or a memory counter measured.

    The number of steps per clock reading follows from the duration of a step.
    """
    document = record.model_dump(mode="json")
    del document["spans"]
    if document["training"]:
        del document["training"]["seconds"]
    for ran in document["probes"].values():
        del ran["seconds"]
    for measurement in document["measurements"]:
        del measurement["blocks"]
        if measurement["metric"].endswith(("_seconds", "_per_second", "_peak_bytes", "_added_bytes", "_per_reading")):
            measurement["samples"] = len(measurement["samples"])
    return document


def reproducible_content(run: Run) -> dict[str, Any]:
    """Return the reproducible content of a run by case key: the record without timings, and the weights.

    Cases that only serve to choose a learning rate have no weights.
    """
    records, damaged = run.read()
    assert damaged == []
    weights = {key: run.artifacts(key) / "weights.safetensors" for key in records}
    assert [key for key, path in weights.items() if not path.exists()] == [
        key for key, record in records.items() if not record.case.is_reported
    ]
    return {
        key: (without_timings(record), weights[key].read_bytes() if record.case.is_reported else b"")
        for key, record in records.items()
    }
