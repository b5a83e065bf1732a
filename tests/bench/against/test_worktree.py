"""Test that a worktree is removed at the end, however the process ends, and why a checkout fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.against.version import found_version
from bench.against.worktree import PREFIX
from bench.errors import UsageError
from bench.machine.provenance import HOME
from tests.bench.against.repository import git, program, repository, temporary

__all__ = ["repository", "temporary"]

CHECK_OUT = """
import sys, time
from pathlib import Path
from bench.against.version import found_version
with found_version("HEAD", Path(sys.argv[1])):
    print("ready", flush=True)
    while True:
        time.sleep(0.1)
"""
"""The sleep is short, because a signal that comes just before a sleep does not end it."""
WAIT_SECONDS = 60


def worktrees(repository: Path) -> int:
    """Return the number of worktrees beside the repository itself."""
    return len(git(repository, "worktree", "list").splitlines()) - 1


def refusal(base: str, home: Path) -> str:
    with pytest.raises(UsageError) as refused, found_version(base, home):
        pass
    return str(refused.value)


def checking_out(repository: Path, temporary: Path) -> subprocess.Popen[str]:
    """Start a process that has checked out `HEAD`, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHECK_OUT, str(repository)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(HOME)},
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    with process:
        process.send_signal(number)
        try:
            process.wait(WAIT_SECONDS)
        finally:
            process.kill()  # if it has not ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_worktree_is_removed_if_the_process_is_ended(repository: Path, temporary: Path, number: int) -> None:
    end(checking_out(repository, temporary), number)
    assert list(temporary.iterdir()) == []
    assert worktrees(repository) == 0


def test_a_worktree_of_a_killed_process_is_removed_by_the_next_and_one_in_use_is_not(
    repository: Path, temporary: Path
) -> None:
    end(checking_out(repository, temporary), signal.SIGKILL)
    (abandoned,) = temporary.iterdir()
    (abandoned / "environment").mkdir()
    in_use = checking_out(repository, temporary)
    (kept,) = temporary.iterdir()
    assert kept != abandoned and not abandoned.exists()
    with found_version("HEAD", repository):
        assert kept.is_dir() and worktrees(repository) == 2
    end(in_use, signal.SIGTERM)
    assert worktrees(repository) == 0


def test_a_worktree_of_somebody_else_is_kept(repository: Path, temporary: Path) -> None:
    """Neither a worktree under another name nor one without a file to lock is Carousel's to remove."""
    folders = [temporary / "mine", temporary / f"{PREFIX}older"]
    for folder in folders:
        git(repository, "worktree", "add", "--detach", str(folder / "tree"))
    (folders[0] / "lock").touch()
    with found_version("HEAD", repository):
        pass
    assert all((folder / "tree" / "bench").is_dir() for folder in folders)
    assert worktrees(repository) == 2


def test_a_worktree_that_git_has_locked_while_creating_it_is_removed(repository: Path, temporary: Path) -> None:
    with found_version("HEAD", repository) as version:
        assert version.home is not None
        git(repository, "worktree", "lock", str(version.home))
    assert worktrees(repository) == 0
    assert list(temporary.iterdir()) == []


def test_an_interrupted_checkout_lets_git_clean_up(
    repository: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program that notes whether it may react to SIGTERM stands for git while it checks out."""
    cleaned = tmp_path / "cleaned"
    slow = program(
        tmp_path / "git",
        f"""case "$*" in
        *"worktree add"*) trap 'touch {cleaned}; exit 1' TERM; while :; do kill -TERM $PPID; sleep 0.1; done;;
        *) exec /usr/bin/env -u PATH git "$@";; esac""",
    )
    monkeypatch.setattr("bench.against.version.shutil.which", lambda name: str(slow))
    with pytest.raises(KeyboardInterrupt), found_version("HEAD", repository):
        time.sleep(WAIT_SECONDS)
    assert cleaned.exists()
    assert list(temporary.iterdir()) == []


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


LACKING = "error: unable to write file bench/a.py"
RESET = "fatal: Could not reset index file to revision 'HEAD'."


@pytest.mark.parametrize(
    ("lines", "free", "said"),
    [
        (
            [LACKING, "error: unable to create file b: No space left on device", RESET],
            1 << 40,
            "create file b: No space",
        ),
        ([LACKING, RESET], 0, "temporary: no space: it needs "),
        ([LACKING, RESET], 1 << 40, "temporary: unable to write file bench/a.py;"),
        (["something else"], 1 << 40, "temporary: something else;"),
        ([], 1 << 40, "temporary: git ended with exit code 128;"),
    ],
)
def test_the_cause_of_a_failing_checkout_is_said_and_not_its_consequence(
    repository: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: list[str],
    free: int,
    said: str,
) -> None:
    (tmp_path / "said").write_text("".join(f"{line}\n" for line in lines))
    failing = program(
        tmp_path / "git",
        f'case "$*" in *"worktree add"*) cat {tmp_path / "said"} >&2; exit 128;;'
        ' *) exec /usr/bin/env -u PATH git "$@";; esac',
    )
    monkeypatch.setattr("bench.against.version.shutil.which", lambda name: str(failing))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("bench.against.worktree.shutil.disk_usage", lambda path: usage._replace(free=free))
    message = refusal("HEAD", repository)
    assert message.startswith(f"--against HEAD: cannot check it out into {temporary}: ")
    assert said in message and "index file" not in message
    assert message.endswith("; free space or set TMPDIR to another folder")
    assert worktrees(repository) == 0
