"""The `carousel` command, run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.cli import main
from bench.machine import lock
from tests.bench.tiny import write_plan


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Carousel = Callable[..., Ended]


@pytest.fixture
def carousel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Carousel:
    """Runs the command in this process, in an empty folder, with `tiny.toml` beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAROUSEL_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(lock, "lock_folder", lambda: tmp_path)
    write_plan(tmp_path)

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["carousel", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0 if code is None else 1, out, err)

    return run
