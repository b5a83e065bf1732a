"""Check out a git revision into a temporary folder, and remove it at the end, also if a run that did so was killed.

The temporary folder holds the worktree, and a file that is locked while the process lives. So a later run can tell
which worktrees nobody needs any more. If the system has no file locks, it removes none.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.against.termination import undisturbed
from bench.errors import UsageError, informative_line
from reports.format import numbers

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

PREFIX, TREE, LOCK = "carousel-against-", "tree", "lock"
"""How the name of a temporary folder begins, and the names of the worktree and of the locked file in it."""
KERNELS = Path("arch", "kernels")
COMPILED = (".nbi", ".nbc")
"""Endings of compiled kernels in `__pycache__`."""
NO_SPACE = "No space left on device"
END_SECONDS = 5.0
"""Longest wait for git to clean up after it was ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A commit that is checked out."""

    home: Path
    """Folder of its packages."""
    scratch: Path
    """Temporary folder, which is removed with all that is in it."""


@contextlib.contextmanager
def checked_out(revision: str, commit: str, home: Path) -> Iterator[Checkout]:
    """Check out a commit into a temporary folder, and remove the folder at the end.

    Args:
        revision: The revision as the user gave it.
        commit: Name of its commit.
        home: Folder in the repository.

    Raises `UsageError` if the commit cannot be checked out.
    """
    _remove_abandoned(home)
    with contextlib.ExitStack() as stack:
        try:
            scratch = Path(tempfile.mkdtemp(prefix=PREFIX))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            stack.callback(os.close, _new_lock(scratch / LOCK))
        except OSError as error:
            raise UsageError(
                f"--against {revision}: cannot create a temporary folder: {error.strerror}; set TMPDIR to a folder "
                "with space"
            ) from None
        tree = scratch / TREE
        stack.callback(_remove, tree, home)
        added = git(home, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        if added.returncode:
            raise UsageError(
                f"--against {revision}: cannot check it out into {scratch.parent}: "
                f"{_reason(added, commit, home, scratch)}; free space or set TMPDIR to another folder"
            )
        folder = tree / git(home, "rev-parse", "--show-prefix").stdout.strip()
        _copy_kernels(home, folder)
        yield Checkout(home=folder, scratch=scratch)


def _new_lock(path: Path) -> int:
    """Create a file, lock it if the system can, and return its descriptor. It is unlocked when the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a network file system may have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _remove_abandoned(home: Path) -> None:
    """Remove the worktrees of runs that were killed: those in a folder of this file whose lock nobody holds."""
    for line in git(home, "worktree", "list", "--porcelain").stdout.splitlines():
        tree = Path(line.removeprefix("worktree "))
        if not line.startswith("worktree ") or tree.name != TREE or not tree.parent.name.startswith(PREFIX):
            continue
        with contextlib.suppress(OSError), _released(tree.parent / LOCK) as is_released:
            if is_released:
                _remove(tree, home)
                shutil.rmtree(tree.parent, ignore_errors=True)


@contextlib.contextmanager
def _released(path: Path) -> Iterator[bool]:
    """Lock a file, and yield whether nobody else has locked it. Raises `OSError` if it cannot be opened or locked."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove(tree: Path, home: Path) -> None:
    """Remove a worktree, also one that git was still creating when it was ended, and ignore signals meanwhile."""
    with undisturbed():
        git(home, "worktree", "unlock", str(tree))  # git locks a worktree while it creates it
        removed = git(home, "worktree", "remove", "--force", str(tree))
        if removed.returncode:
            shutil.rmtree(tree, ignore_errors=True)
            git(home, "worktree", "prune")  # this also forgets other worktrees whose folders are missing


def _reason(failed: subprocess.CompletedProcess[str], commit: str, home: Path, scratch: Path) -> str:
    """Return why git could not check out a commit. Its last line often names a consequence, not the cause."""
    lines = [line.strip() for line in failed.stderr.splitlines() if informative_line(line)]
    errors = [line for line in lines if line.startswith(("error: ", "fatal: "))]
    full = [line for line in errors if NO_SPACE in line]
    if not full and (shortage := _shortage(commit, home, scratch)):
        return shortage
    found = next(iter(full or errors or lines[-1:]), f"git ended with exit code {failed.returncode}")
    return found.removeprefix("error: ").removeprefix("fatal: ")


def _shortage(commit: str, home: Path, scratch: Path) -> str:
    """Return that the files of a commit need more space than a folder has, or "" if there is enough space."""
    listed = git(home, "ls-tree", "-r", "--long", "--full-tree", commit).stdout.splitlines()
    of_files = [line.partition("\t")[0].split()[-1] for line in listed]
    needed = sum(int(text) for text in of_files if text.isdigit())
    try:
        free = shutil.disk_usage(scratch).free
    except OSError:
        return ""
    if needed <= free:
        return ""
    return f"no space: it needs {numbers.size(needed)}, and {numbers.size(free)} are free"


def _copy_kernels(home: Path, folder: Path) -> None:
    """Copy the compiled kernels of `home` to a folder whose kernels have the same sources. Compiling takes a minute.

    Numba compares the times and sizes of the sources, so these get the times that they have in `home`. If a file cannot
    be copied, its kernels are compiled again.
    """
    sources = {path.relative_to(home) for path in (home / KERNELS).rglob("*.py")}
    if sources != {path.relative_to(folder) for path in (folder / KERNELS).rglob("*.py")}:
        return
    if any((home / path).read_bytes() != (folder / path).read_bytes() for path in sources):
        return
    with contextlib.suppress(OSError):
        for path in sources:
            status = (home / path).stat()
            os.utime(folder / path, ns=(status.st_atime_ns, status.st_mtime_ns))
        for ending in COMPILED:
            for path in (home / KERNELS).rglob(f"__pycache__/*{ending}"):
                copy = folder / path.relative_to(home)
                copy.parent.mkdir(exist_ok=True)
                try:
                    shutil.copyfile(path, copy)
                except OSError:  # a part of a kernel could not be loaded
                    copy.unlink(missing_ok=True)
                    raise


def git(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a git command in a folder. Its messages are in English.

    Variables of a hook, which may name another repository, are left out. If this process is interrupted, git may clean
    up before it ends.
    """
    program = shutil.which("git")
    assert program is not None
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [program, "-c", f"safe.directory={home}", "-c", "core.hooksPath=/dev/null", "-C", str(home), *arguments]
    process = subprocess.Popen(  # noqa: S603  (no shell)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=variables | {"LC_ALL": "C"},
    )
    with process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
