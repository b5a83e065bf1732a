"""Child processes do not depend on the working directory, and their last words are known."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bench.executors.child_process import ErrorOutput, start_child
from bench.executors.worker_process import exit_failure
from bench.machine.import_path import HOME, SAFE_PATH
from tests.bench import children

PATIENCE_SECONDS = 120.0


def started(target: Callable[[Connection], None]) -> tuple[Any, ErrorOutput, Connection]:
    context = multiprocessing.get_context("spawn")
    connection, child = context.Pipe()
    process = context.Process(target=target, args=(child,), daemon=True)
    output = start_child(process)
    child.close()
    return process, output, connection


@pytest.mark.parametrize("import_path", [HOME, f":{HOME}", f"{HOME}:", f".:{HOME}"])
@pytest.mark.parametrize("name", ["signal", "multiprocessing", "statistics", "struct", "psutil"])
def test_a_file_in_the_working_directory_replaces_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, import_path: str
) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('the file in the working directory was imported')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("PYTHONPATH", import_path)
    monkeypatch.delenv(SAFE_PATH, raising=False)
    process, output, connection = started(children.report_modules)
    process.join(PATIENCE_SECONDS)
    assert process.exitcode == 0, output.last_line()
    assert not any(str(tmp_path) in file for file in connection.recv())
    assert SAFE_PATH not in os.environ
    assert os.environ["PYTHONPATH"] == import_path


@pytest.mark.parametrize(
    ("target", "last_line"), [(children.fail, "the reason"), (children.abort, "what():   [31mno memory�")]
)
def test_the_last_line_of_a_dead_process_is_known_and_not_shown(
    capfd: pytest.CaptureFixture[str], target: Callable[[Connection], None], last_line: str
) -> None:
    process, output, _ = started(target)
    process.join(PATIENCE_SECONDS)
    assert process.exitcode not in (0, None)
    assert output.last_line() == last_line
    assert exit_failure(process.exitcode, output.last_line()).reason.endswith(f"{process.exitcode}: {last_line}")
    assert capfd.readouterr().err == ""


def test_what_a_living_process_writes_is_shown_in_one_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    process, output, connection = started(children.warn)
    assert connection.recv() == "done"
    process.join(PATIENCE_SECONDS)
    output.last_line()  # waits for the last line
    output.show()
    assert capfd.readouterr().err == "carousel: warning: something is old\na plugin's note\n"
