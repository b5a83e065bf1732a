"""Killed at any moment, a run goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from results import Store
from tests.bench.inline_executor import Inline, inline
from tests.bench.runs import as_in_a_lane, everything, request_for, run_quietly
from tests.bench.tiny import TINY, write_plan

__all__ = ["as_in_a_lane", "inline"]

HOME = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120.0
"""How long the test waits for what must come, before it fails."""


def records_of(store: Path) -> list[Path]:
    return list(store.glob("*/records/*.json"))


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_records(tmp_path: Path, inline: Inline) -> None:
    plan = write_plan(tmp_path, TINY.replace("seeds = 2", "seeds = 3"))
    store = tmp_path / "killed"
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--workers", "1", "-q"]
    moments = [lambda k=k: len(records_of(store)) >= k for k in (1, 2, 4, 6)]
    moments.append(lambda: any(b"step_seconds" in path.read_bytes() for path in records_of(store)))

    def start() -> subprocess.Popen[bytes]:
        environment = os.environ | {"TMPDIR": str(tmp_path)}  # a lock of its own, whoever else is timing here
        return subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    kept: dict[str, str] = {}
    for moment in moments:
        with start() as process:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while process.poll() is None and not moment():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
        for path in records_of(store):
            training = json.dumps(json.loads(path.read_bytes())["training"])
            assert kept.setdefault(path.name, training) == training, "a case was trained twice"
    with start() as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output.decode()
    runs = Store(store).runs()
    unfinished = [run for run in runs if run.file().finished is None]
    assert unfinished == []
    reference = run_quietly(request_for(tmp_path, seeds=3))
    for run in runs:
        assert everything(run) == everything(reference.run)
    assert len(runs) == 1, "a kill came too late, and the run had already ended"
    for name, training in kept.items():
        assert json.dumps(json.loads((runs[0].folder / "records" / name).read_bytes())["training"]) == training
