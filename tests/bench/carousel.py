"""A fixture that runs the `carousel` command in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.cli import main
from bench.machine import lock
from tests.bench.tiny import write_plan


class Completed(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Carousel = Callable[..., Completed]


@pytest.fixture
def carousel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Carousel:
    """Change to a folder with the plan `tiny.toml`, and return a function to run `carousel` commands there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAROUSEL_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(lock, "lock_folder", lambda: tmp_path)
    write_plan(tmp_path)

    def run(*words: str) -> Completed:
        monkeypatch.setattr(sys, "argv", ["carousel", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main.main()
        out, err = capsys.readouterr()
        code = exited.value.code
        return Completed(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return run
