"""Ctrl-C once: the running cases are named and ended, what is done is kept, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench._errors import INTERRUPTED
from results import Store
from tests.bench.tiny import TINY, write_plan

HOME = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0
ENDLESS = TINY.replace("steps = 1\n", "steps = 1000000\n").replace("evaluate_every = 1\n", "evaluate_every = 1000000\n")


def test_ctrl_c_names_what_was_running_and_leaves_no_lane_behind(tmp_path: Path) -> None:
    plan, store = write_plan(tmp_path, ENDLESS), tmp_path / "runs"
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--lanes", "1"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "400"}
    with subprocess.Popen(
        command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        lanes: list[psutil.Process] = []
        while not lanes or lanes[0].cpu_times().user < 0.2:
            assert time.monotonic() < deadline
            lanes = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == INTERRUPTED == 130
    assert "stopped, to begin anew: lstm on first_last at 4, seed 0" in output or "begin anew: rnn" in output
    assert "0 of 4 cases are done" in output
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    assert [lane for lane in lanes if lane.is_running() and lane.status() != psutil.STATUS_ZOMBIE] == []
    (run,) = Store(store).runs()
    assert run.file().finished is None
    assert run.read() == ({}, [])


@pytest.mark.parametrize("text", ["many", "4 GiB more", "-1", "1e9", "100MB", "0", ""])
def test_an_amount_of_memory_that_is_none_is_one_line(text: str) -> None:
    from bench._errors import UsageError
    from bench._limits import bytes_of

    with pytest.raises(UsageError, match="--memory"):
        bytes_of(text)


def test_amounts_of_memory() -> None:
    from bench._limits import bytes_of

    gib = 1 << 30
    assert [bytes_of(text) for text in ("4GiB", "4g", "0.5 GB", str(gib))] == [4 * gib, 4 * gib, gib // 2, gib]
