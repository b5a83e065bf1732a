"""A run that is killed at any moment resumes, and ends with the records of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results import Store, Tuning
from tests.bench.inline_executor import Inline, inline
from tests.bench.runs import like_a_worker, reproducible_content, request_for, run_quietly
from tests.bench.tiny import GRID, TINY, write_plan

__all__ = ["inline", "like_a_worker"]

HOME = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120.0
"""Longest wait for an event that must happen, in seconds. If the event takes longer, the test fails."""


def records_of(store: Path) -> list[Path]:
    return list(store.glob("*/records/*.json"))


@pytest.mark.slow
def test_a_killed_and_restarted_run_ends_with_the_same_records(tmp_path: Path, inline: Inline) -> None:
    """Kill a run while it tunes, between tuning and training, while it trains, and while it times."""
    tuning = Tuning(learning_rates=(1e-3, 1e-2), seeds=1)
    plan = write_plan(tmp_path, TINY.replace("seeds = 2", "seeds = 3") + GRID)
    store = tmp_path / "killed"
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--workers", "1", "-q"]
    moments = [lambda k=k: len(records_of(store)) >= k for k in (1, 4, 6)]
    moments.append(lambda: any(b"step_seconds" in path.read_bytes() for path in records_of(store)))

    def start() -> subprocess.Popen[bytes]:
        environment = os.environ | {"TMPDIR": str(tmp_path)}  # its own machine lock, independent of other runs here
        return subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    training_by_file: dict[str, str] = {}
    for moment in moments:
        with start() as process:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while process.poll() is None and not moment():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        for path in records_of(store):
            training = json.dumps(json.loads(path.read_bytes())["training"])
            first = training_by_file.setdefault(path.name, training)
            assert first == training, "a case was trained twice"
    with start() as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output.decode()
    runs = Store(store).runs()
    unfinished = [run for run in runs if run.file().finished is None]
    assert unfinished == []
    reference = run_quietly(request_for(tmp_path, seeds=3, tuning=tuning))
    for run in runs:
        assert reproducible_content(run) == reproducible_content(reference.run)
    assert len(runs) == 1, "the run had ended before the last kill"
    for name, training in training_by_file.items():
        assert json.dumps(json.loads((runs[0].folder / "records" / name).read_bytes())["training"]) == training
