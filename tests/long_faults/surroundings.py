"""Whole runs in hostile surroundings: every run ends well, in few lines, and leaves nothing half-made."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.errors import INTERRUPTED, OK
from results import Store, verify
from tests.bench.tiny import TINY, write_plan
from tests.long_faults import Check

ROOT = Path(__file__).resolve().parents[2]
SHADOWED = ("signal", "statistics", "struct", "queue", "psutil", "numpy", "torch", "typer")
INTERRUPTS = 20
MAX_START_SECONDS = 4.0
"""Latest moment of an interrupt, in seconds after the start."""
LOCKLESS = """
import errno, fcntl, runpy, sys
def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refuse
sys.argv[0] = "carousel"
runpy.run_module("bench", run_name="__main__")
"""


def workers(folder: Path) -> str:
    """Check that files in the working directory with the names of modules stop no worker."""
    here = folder / "here"
    here.mkdir()
    for name in SHADOWED:
        (here / f"{name}.py").write_text("raise SystemExit('a file in the working directory was imported')\n")
    ended = _run(folder, here, [sys.executable, "-m", "bench"])
    assert ended.returncode == OK, ended.stdout[-2000:]
    return f"a run beside {len(SHADOWED)} files with the names of modules"


def services(folder: Path) -> str:
    """Check runs without locks, without git, and with a byte order mark in the plan."""
    (folder / "bin").mkdir()
    ended = _run(folder, folder, [sys.executable, "-c", LOCKLESS], {"PATH": str(folder / "bin")}, mark=True)
    assert ended.returncode == OK, ended.stdout[-2000:]
    assert ended.stdout.count("start no other run there until this run ends") == 1, ended.stdout
    assert "Traceback" not in ended.stdout, ended.stdout
    return "a run without locks and git, whose plan has a byte order mark"


def interrupts(folder: Path) -> str:
    """Check that Ctrl-C at any moment of the start ends in at most one line, and leaves nothing half-made."""
    generator = random.Random(0)
    for number in range(INTERRUPTS):
        here = folder / str(number)
        here.mkdir()
        process = _start(here, here, [sys.executable, "-m", "bench"])
        time.sleep(generator.uniform(0.3, MAX_START_SECONDS))  # before, Python itself starts
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=600)
        assert process.returncode in (INTERRUPTED, OK), f"exit code {process.returncode}: {output[-2000:]}"
        assert "Traceback" not in output, output[-2000:]
        assert process.returncode == OK or "stopped" in output, output[-2000:]
        if (here / "runs").exists():
            assert verify(Store(here / "runs")).flaws == (), output
        shutil.rmtree(here)
    return f"{INTERRUPTS} interrupts within {MAX_START_SECONDS:g} s of the start"


CHECKS: dict[str, Check] = {"workers": workers, "services": services, "interrupts": interrupts}


def _run(
    folder: Path, here: Path, command: list[str], variables: Mapping[str, str] | None = None, *, mark: bool = False
) -> subprocess.CompletedProcess[str]:
    process = _start(folder, here, command, variables or {}, mark=mark)
    output, _ = process.communicate(timeout=600)
    return subprocess.CompletedProcess(command, process.returncode, output)


def _start(
    folder: Path, here: Path, command: list[str], variables: Mapping[str, str] | None = None, *, mark: bool = False
) -> subprocess.Popen[str]:
    """Start a run of the tiny plan.

    Args:
        folder: folder of the plan, the store and temporary files.
        here: the working directory.
        command: the words that start `carousel`.
        variables: environment variables that are added.
        mark: whether the plan starts with a byte order mark.
    """
    plan = write_plan(folder / "plan", ("\ufeff" if mark else "") + TINY.replace("seeds = 2", "seeds = 1"))
    words = ["run", str(plan), "--store", str(folder / "runs"), "--workers", "1", "--measure", "accuracy", "-q"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)} | dict(variables or {})
    return subprocess.Popen(
        [*command, *words], cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
