"""A dask cluster on this machine, with a scheduler and workers in separate processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300.0
"""Longest wait for an event in seconds, after which the test fails."""


class LoopbackCluster:
    """A running scheduler, and the workers and drivers that a test starts. All are killed when `stack` closes."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(HOME), "COLUMNS": "400"}
        self._file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self._file))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._file.exists() or not self._file.read_bytes().endswith(b"}"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_bytes())["address"]

    def worker(self, *options: str, **environment: str) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", *options, **environment)

    def carousel(self, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bench", "run", *words, "--scheduler", self.address]
        return self._popen(command, subprocess.PIPE, self.environment, HOME)

    def _start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        return self._popen(command, subprocess.DEVNULL, self.environment | environment, self.folder)

    def _popen(
        self, command: list[str], output: int, environment: dict[str, str], folder: Path
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)

        def end() -> None:
            process.kill()
            process.communicate()

        self._stack.callback(end)
        return process


@contextlib.contextmanager
def loopback_cluster(folder: Path) -> Iterator[LoopbackCluster]:
    with contextlib.ExitStack() as stack:
        yield LoopbackCluster(folder, stack)
