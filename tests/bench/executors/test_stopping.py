"""A single Ctrl-C names and ends the running jobs. A dask worker ends the jobs of a lost driver."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.errors import INTERRUPTED
from bench.executors.dask_cluster import is_no_late_cancel
from results import Store
from tests.bench.loopback_cluster import loopback_cluster
from tests.bench.tiny import TINY, write_plan

HOME = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120.0
ENDLESS = TINY.replace("steps = 1\n", "steps = 1000000\n").replace("evaluate_every = 1\n", "evaluate_every = 1000000\n")


def busy_workers_of(parent: subprocess.Popen[Any]) -> list[psutil.Process]:
    """Wait until the first worker process of `parent` is busy, and return all worker processes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    workers: list[psutil.Process] = []
    while not workers or workers[0].cpu_times().user < 0.2:
        assert parent.poll() is None
        assert time.monotonic() < deadline
        workers = [child for child in psutil.Process(parent.pid).children() if is_worker_process(child)]
        time.sleep(0.02)
    return workers


def is_worker_process(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline())
    except psutil.Error:  # a short-lived child that has just ended
        return False


def is_alive(worker: psutil.Process) -> bool:
    try:
        return worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_ctrl_c_names_the_running_jobs_and_no_process_remains(tmp_path: Path) -> None:
    plan, store = write_plan(tmp_path, ENDLESS), tmp_path / "runs"
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--workers", "1"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "400"}
    with subprocess.Popen(
        command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            workers = busy_workers_of(process)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()  # leaving the block waits for its end
    assert process.returncode == INTERRUPTED == 130
    interrupted = re.search(r"^interrupted, to be run again: (rnn|lstm) on first_last, length 4, seed 0$", output, re.M)
    assert interrupted is not None, output
    assert "0 of 4 cases done" in output
    assert "rerun the same command to resume" in output
    assert "Traceback" not in output
    assert [worker for worker in workers if is_alive(worker)] == []
    (run,) = Store(store).runs()
    assert run.file().finished is None
    assert run.read() == ({}, [])


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_dask_worker_ends_the_jobs_of_a_lost_driver(tmp_path: Path, how: signal.Signals) -> None:
    plan, store = write_plan(tmp_path, ENDLESS), tmp_path / "runs"
    with loopback_cluster(tmp_path) as cluster:
        dask_worker = cluster.worker("--no-nanny")
        driver = cluster.carousel(str(plan), "--store", str(store))
        (worker,) = busy_workers_of(dask_worker)
        driver.send_signal(how)
        output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while is_alive(worker):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert dask_worker.poll() is None
    if how == signal.SIGINT:
        assert driver.returncode == INTERRUPTED, output.decode()
        assert "0 of 4 cases done" in output.decode()
        assert "Traceback" not in output.decode()


def test_ctrl_c_before_a_message_to_dask_begins_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Check that the error of cancelling an unassigned `future` is not logged, but that other errors are logged.

    Dask's `sync` makes this error if Ctrl-C arrives too early.
    """

    def sync() -> Any:
        def cancel() -> None:
            if future is not None:
                future.cancel()

        cancel()
        future: Any = None

    log = logging.getLogger("tornado.application")
    log.addFilter(is_no_late_cancel)
    for broken in (sync, lambda: 1 / 0):
        try:
            broken()
        except (NameError, ZeroDivisionError):
            log.exception("Exception in callback")
    log.removeFilter(is_no_late_cancel)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]
