"""Test which version a base names, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.against import environment
from bench.against.version import found_version
from bench.errors import UsageError
from tests.bench.against.repository import add_packages, git, program, repository, temporary

__all__ = ["repository", "temporary"]


def test_a_program_is_a_python(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "exit")
    with found_version(str(python)) as version:
        assert (version.python, version.home) == (str(python), None)


def test_an_environment_is_run_by_its_python(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = program(tmp_path / "bin" / "python", "exit")
    with found_version(str(tmp_path)) as version:
        assert (version.python, version.home) == (str(python), None)


def test_a_checkout_is_run_by_this_python(tmp_path: Path) -> None:
    add_packages(tmp_path)
    with found_version(str(tmp_path)) as version:
        assert (version.python, version.home) == (sys.executable, tmp_path)


def test_a_revision_is_checked_out_and_removed(repository: Path, temporary: Path) -> None:
    with found_version("HEAD", repository) as version:
        assert version.home is not None
        assert version.revision == "HEAD"
        assert git(version.home, "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
        assert temporary in version.home.parents
        assert version.note is not None
        assert "numpy 0.0.1 (installed:" in version.note
        assert "not-installed" not in version.note
    assert list(temporary.iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_folder_that_may_not_be_looked_into_is_refused(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, is_file = tmp_path / "closed", Path.is_file
    closed.mkdir()

    def refused(path: Path) -> bool:
        if closed in path.parents:
            raise PermissionError
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)
    assert "a folder without Carousel's packages" in refusal(str(closed), repository)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_a_revision_is_removed_after_an_error(repository: Path, temporary: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), found_version("HEAD", repository):
        raise error
    assert list(temporary.iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def refusal(base: str, home: Path, *, build: bool = False) -> str:
    with pytest.raises(UsageError) as refused, found_version(base, home, build=build):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the commands that build an environment. They are not run, except for an empty file as its Python."""
    seen: list[list[str]] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(list(command))
        if "venv" in command:
            python = Path(command[-1], environment.INTERPRETERS[0])
            python.parent.mkdir()
            python.touch()
        failing = "pip" in command and os.environ.get("FAILING")
        output = "ERROR: No matching distribution found for numpy==0.0.1\nWARNING: retried\n" if failing else ""
        return subprocess.CompletedProcess(command, 1 if failing else 0, "", output)

    monkeypatch.setattr(environment.subprocess, "run", run)
    return seen


def test_an_environment_is_built_for_a_revision_that_pins_other_packages(
    repository: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, Path]] = []

    @contextlib.contextmanager
    def environment_of(revision: str, home: Path, within: Path) -> Iterator[str]:
        assert within.parent == temporary and within in home.parents  # a later run removes it with the worktree
        built.append((revision, home))
        yield "/its/python"

    monkeypatch.setattr("bench.against.version.built_environment", environment_of)
    lines: list[str] = []
    with found_version("HEAD", repository, build=True, announce=lines.append) as version:
        assert (version.python, version.note) == ("/its/python", None)
        assert built == [("HEAD", version.home)]
    assert lines == ["building an environment with the packages that revision HEAD pins, which takes minutes"]
    (repository / "constraints.txt").write_text(f"pytest=={pytest.__version__}\n")
    git(repository, "commit", "--quiet", "-am", "the pins of here")
    with found_version("HEAD", repository, build=True, announce=lines.append) as version:
        assert version.python == sys.executable
    assert len(lines) == 1


def test_an_environment_gets_the_pinned_packages_and_is_removed(
    tmp_path: Path, temporary: Path, commands: list[list[str]]
) -> None:
    (tmp_path / "constraints.txt").touch()
    with environment.built_environment("HEAD", tmp_path, temporary) as python:
        assert temporary in Path(python).parents
        assert commands[0][:3] == [sys.executable, "-m", "venv"]
        assert commands[1][:4] == [python, "-m", "pip", "install"]
        assert commands[1][-3:] == ["--constraint", str(tmp_path / "constraints.txt"), str(tmp_path)]
    assert list(temporary.iterdir()) == []


def test_packages_that_cannot_be_installed_are_said_in_a_line_and_nothing_is_left(
    tmp_path: Path, temporary: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILING", "1")
    with pytest.raises(UsageError) as refused, environment.built_environment("HEAD", tmp_path, temporary):
        pass
    assert str(refused.value) == (
        "--against HEAD: its packages cannot be installed: ERROR: No matching distribution found for numpy==0.0.1; "
        "leave out --build to measure it with the packages that are installed here"
    )
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("base", ["", " ", "\t\n"])
def test_an_empty_base_is_refused_even_where_the_working_folder_is_a_version(
    repository: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.chdir(repository)
    assert refusal(base, repository).startswith(
        "--against is empty and names no base; give another environment's Python"
    )
    with found_version(".", repository) as version:
        assert version.home == repository


def test_what_is_no_version_is_refused(repository: Path, tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "text").write_text("")
    assert "no file or folder, and no git revision" in refusal("nothing", repository)
    assert "no file or folder, and no git revision" in refusal("--help", repository)
    assert "no file or folder, and no git revision" in refusal("x" * 5000, repository)
    assert "cannot be executed" in refusal(str(tmp_path / "text"), repository)
    assert "a folder without Carousel's packages" in refusal(str(temporary), repository)
    assert refusal(str(repository), repository, build=True) == (
        f"--build is for a git revision, and the checkout {repository} is none; leave it out"
    )
    assert "does not hold Carousel's packages" in refusal("HEAD~1", repository)
    assert "uncommitted changes are in no revision" in refusal("HEAD-dirty", repository)
    assert list(temporary.iterdir()) == []


def test_a_missing_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.against.version.shutil.which", lambda name: None)
    assert "git is missing" in refusal("HEAD", repository)
