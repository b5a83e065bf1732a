"""Tiny runs in a folder, and what of them must be the same every time."""

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
def as_in_a_lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
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


def lasting(record: Record) -> dict[str, Any]:
    """A record without what a clock measured."""
    document = record.model_dump(mode="json")
    del document["spans"]
    if document["training"]:
        del document["training"]["seconds"]
    for ran in document["probes"].values():
        del ran["seconds"]
    for measurement in document["measurements"]:
        del measurement["blocks"]
        if measurement["metric"].endswith(("_seconds", "_per_second", "_peak_bytes", "_added_bytes")):
            measurement["samples"] = len(measurement["samples"])
    return document


def everything(run: Run) -> dict[str, Any]:
    """What must be the same of two runs of the same plan: records without timings, and weights."""
    records, damaged = run.read()
    assert damaged == []
    return {
        key: (lasting(record), (run.artifacts(key) / "weights.safetensors").read_bytes())
        for key, record in records.items()
    }
