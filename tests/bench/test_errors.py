"""The one-line description of an exception: it always says something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.errors import informative_line, name_and_message, show_warnings_in_one_line
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.executors.worker_process import run_job
from bench.plugins.sanity import describe_error
from bench.probes import gates
from tests.bench.tiny import tiny_case

TRACEBACK = """
Traceback (most recent call last):
  File "model.py", line 3, in forward
    x @ y
    ~~^~~
ValueError: sizes differ
"""


class Mute(RuntimeError):
    def __str__(self) -> str:
        raise TypeError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        (" \n\n", ""),
        ("the first\nthe second", "the first"),
        ("\n\n  the first\nthe second", "the first"),
        ("-----\n=====\nthe first", "the first"),
        (TRACEBACK, "ValueError: sizes differ"),
        ("Traceback (most recent call last):", ""),
        ("Caught it in a worker.\nOriginal " + TRACEBACK.strip(), "Caught it in a worker."),
    ],
)
def test_the_first_line_that_says_something_is_chosen(message: str, line: str) -> None:
    assert informative_line(message) == line


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (RuntimeError("\nno kernel"), "RuntimeError: no kernel"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError("\n\n"), "RuntimeError"),
        (Mute(), "Mute"),
    ],
)
def test_the_class_is_named_even_without_a_message(error: Exception, description: str) -> None:
    assert name_and_message(error) == description
    assert describe_error(error, "no file") == description


@dataclass(frozen=True)
class Raising:
    """Replacement for a job. Running it raises the error."""

    error: Exception

    def __getattr__(self, name: str) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        (LookupError("\n\nno entry"), r"LookupError at test_errors\.py:\d+: no entry"),
        (LookupError(TRACEBACK), r"LookupError at test_errors\.py:\d+: ValueError: sizes differ"),
        (LookupError(), r"LookupError at test_errors\.py:\d+"),
        (Mute(), r"Mute at test_errors\.py:\d+"),
        (RuntimeError("\nCUDA out of memory"), "CUDA out of memory"),
    ],
)
def test_a_crash_has_a_reason(error: Exception, pattern: str) -> None:

    failure = run_job(Raising(error), None)  # type: ignore[arg-type]
    assert re.fullmatch(pattern, failure.reason)


def test_a_probe_that_fails_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:

    def fail(subject: object) -> Any:
        raise ValueError("\n\nno gates here")

    monkeypatch.setattr(gates, "measure", fail)
    job = TrainJob(case=tiny_case("lstm"), probes=("accuracy", "gates"))
    ran = run_training_job(job, lambda *_: None).record.probes["gates"]
    assert (ran.status, ran.reason) == ("failed", "ValueError: no gates here")


def test_a_warning_is_one_line_without_a_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        usual = warnings.showwarning
        monkeypatch.setenv("CAROUSEL_DEBUG", "1")
        show_warnings_in_one_line()
        assert warnings.showwarning is usual
        monkeypatch.delenv("CAROUSEL_DEBUG")
        show_warnings_in_one_line()
        warnings.warn("it is old\nand more", stacklevel=1)
    assert capsys.readouterr().err == "carousel: warning: it is old\n"


def test_a_missing_home_is_no_line_of_matplotlib(tmp_path: Path) -> None:
    script = "from bench.errors import show_warnings_in_one_line as show; show(); import matplotlib; print('drawn')"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(tmp_path / "none" / "home")}
    environment |= {"MPLCONFIGDIR": os.devnull, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("drawn\n", "")
