"""The guard against a foreign package with a room's name: one line, the cure in it, and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.installation import PACKAGES, check_installation

HOME = Path(__file__).resolve().parents[3]


def started_beside(foreign: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m bench list plans`, with a folder of foreign packages before Carousel on the path."""
    path = os.pathsep.join([str(foreign), str(HOME)])
    return subprocess.run(
        [sys.executable, "-m", "bench", "list", "plans"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("room", ["arch", "results"])
def test_a_foreign_package_is_named_with_the_cure(tmp_path: Path, room: str) -> None:
    stub = tmp_path / "foreign" / room / "__init__.py"
    stub.parent.mkdir(parents=True)
    stub.write_text("raise RuntimeError('the foreign package was imported')\n")
    ended = started_beside(tmp_path / "foreign", tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("carousel: ")
    assert f"`import {room}`" in line
    assert str(stub) in line
    assert "python3 -m venv" in line


def test_a_foreign_folder_or_module_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for content in (tmp_path / "tasks.py", tmp_path / "tasks" / "__init__.py"):
        content.parent.mkdir(exist_ok=True)
        content.write_text("")
        monkeypatch.delitem(sys.modules, "tasks", raising=False)
        with pytest.raises(ValueError, match="`import tasks` finds"):
            check_installation()
        content.unlink()


def test_a_missing_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.installation.PACKAGES", ("a_room_that_is_not_there",))
    with pytest.raises(ValueError, match="`a_room_that_is_not_there` of Carousel is missing"):
        check_installation()


def test_our_own_rooms_pass() -> None:
    assert set(PACKAGES) == {"arch", "tasks", "results", "reports"}
    check_installation()
