"""A package of another project is reported in one line, with a remedy and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.installation import PACKAGES, check_installation

HOME = Path(__file__).resolve().parents[3]


def run_with_foreign_packages(foreign: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench list plans` in the folder `cwd`, with `foreign` before Carousel on Python's path."""
    path = os.pathsep.join([str(foreign), str(HOME)])
    return subprocess.run(
        [sys.executable, "-m", "bench", "list", "plans"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("package", ["arch", "results"])
def test_foreign_package_is_reported_with_a_remedy(tmp_path: Path, package: str) -> None:
    stub = tmp_path / "foreign" / package / "__init__.py"
    stub.parent.mkdir(parents=True)
    stub.write_text("raise RuntimeError('the foreign package was imported')\n")
    ended = run_with_foreign_packages(tmp_path / "foreign", tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("carousel: ")
    assert f"`import {package}`" in line
    assert str(stub) in line
    assert "python3 -m venv" in line


def test_foreign_module_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for content in (tmp_path / "tasks.py", tmp_path / "tasks" / "__init__.py"):
        content.parent.mkdir(exist_ok=True)
        content.write_text("")
        monkeypatch.delitem(sys.modules, "tasks", raising=False)
        with pytest.raises(ValueError, match="`import tasks` finds"):
            check_installation()
        content.unlink()


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the working directory of a process")
def test_a_removed_working_directory_is_reported_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    script = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); import bench.__main__ as b; b.main()"
    for words in (["list", "archs"], ["list", "runs"]):
        gone.mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", script, *words],
            env=os.environ | {"PYTHONPATH": str(HOME)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        (line,) = ended.stderr.splitlines()
        assert line.startswith("carousel: cannot work in the current folder: ")


def test_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.cli.installation.PACKAGES", ("missing_package",))
    with pytest.raises(ValueError, match="Carousel's package `missing_package` is missing"):
        check_installation()


def test_own_packages_pass() -> None:
    assert set(PACKAGES) == {"arch", "tasks", "results", "reports"}
    check_installation()
