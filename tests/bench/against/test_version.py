"""Test which version a base names, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

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
        assert git(version.home, "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
        assert temporary in version.home.parents
        assert version.note is not None
        assert "numpy 0.0.1 (installed:" in version.note
        assert "not-installed" not in version.note
    assert list(temporary.iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_a_revision_is_removed_after_an_error(repository: Path, temporary: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), found_version("HEAD", repository):
        raise error
    assert list(temporary.iterdir()) == []
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_revision_is_removed_if_the_process_is_terminated(repository: Path, temporary: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), found_version("HEAD", repository):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # the signal ends it
    assert list(temporary.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_kernels_of_equal_sources_are_copied_with_the_times_of_their_sources(repository: Path, temporary: Path) -> None:
    kernels = repository / "arch" / "kernels"
    (kernels / "__pycache__").mkdir(parents=True)
    source, compiled = kernels / "step.py", kernels / "__pycache__" / "step.nbi"
    source.write_text("x = 1\n")
    compiled.write_bytes(b"compiled")
    git(repository, "add", "--", str(source))
    git(repository, "commit", "--quiet", "-m", "kernels")
    with found_version("HEAD", repository) as version:
        assert version.home is not None
        copy = version.home / "arch" / "kernels"
        assert (copy / "__pycache__" / "step.nbi").read_bytes() == b"compiled"
        assert (copy / "step.py").stat().st_mtime_ns == source.stat().st_mtime_ns
    source.write_text("x = 2\n")
    with found_version("HEAD", repository) as version:
        assert version.home is not None
        assert not (version.home / "arch" / "kernels" / "__pycache__").exists()


def refusal(base: str, home: Path) -> str:
    with pytest.raises(UsageError) as refused, found_version(base, home):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_no_version_is_refused(repository: Path, tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "text").write_text("")
    assert "no file or folder, and no git revision" in refusal("nothing", repository)
    assert "no file or folder, and no git revision" in refusal("--help", repository)
    assert "no file or folder, and no git revision" in refusal("x" * 5000, repository)
    assert "cannot be executed" in refusal(str(tmp_path / "text"), repository)
    assert "a folder without Carousel's packages" in refusal(str(temporary), repository)
    assert "does not hold Carousel's packages" in refusal("HEAD~1", repository)
    assert "uncommitted changes are in no revision" in refusal("HEAD-dirty", repository)
    assert list(temporary.iterdir()) == []


def test_no_folder_for_a_checkout_is_said(repository: Path, temporary: Path) -> None:
    temporary.rmdir()
    assert "cannot create a temporary folder: No such file or directory; set TMPDIR" in refusal("HEAD", repository)


def test_a_failing_checkout_is_said_with_its_reason_and_removed(
    repository: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = program(
        tmp_path / "git",
        'case "$*" in *"worktree add"*) echo "fatal: unable to write file: No space left on device" >&2; exit 128;;'
        ' *) exec /usr/bin/env -u PATH git "$@";; esac',
    )
    real = git(repository, "--exec-path")
    assert real
    monkeypatch.setattr("bench.against.version.shutil.which", lambda name: str(full))
    said = refusal("HEAD", repository)
    assert "No space left on device; free space or set TMPDIR" in said
    assert list(temporary.iterdir()) == []


def test_a_missing_git_is_said(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.against.version.shutil.which", lambda name: None)
    assert "git is missing" in refusal("HEAD", repository)
