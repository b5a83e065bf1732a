"""Find the version that `--against` names: another Python, another checkout, or a git revision.

    a file that can be executed, or a folder with `bin/python`    the Carousel that this Python imports
    a folder with the five packages                               that folder, run by this Python
    anything else                                                 a git revision, checked out into a temporary folder

This Python also runs a revision, unless it pins other packages and an environment is built for them. What is temporary
is removed at the end, also after an error, Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from bench.against.environment import built_environment, differing_pins, interpreter_of, is_file
from bench.errors import UsageError, informative_line
from bench.machine.provenance import HOME

PACKAGES = ("arch", "tasks", "bench", "results", "reports")
KERNELS = Path("arch", "kernels")
COMPILED = (".nbi", ".nbc")
"""Endings of compiled kernels in `__pycache__`."""
DIRTY = "-dirty"
"""Ending by which `git describe --dirty` marks a commit with uncommitted changes."""
MAX_SHOWN_PINS = 3
VERIFY = ("rev-parse", "--verify", "--quiet", "--end-of-options")
KINDS = (
    "give another environment's Python, a folder with Carousel's packages, or a git revision of the repository that "
    "holds them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of Carousel that can be run."""

    name: str
    """The version as messages call it, such as `revision HEAD~1`."""
    python: str = sys.executable
    home: Path | None = None
    """Folder of the packages; None for those that `python` imports by itself."""
    revision: str | None = None
    """The git revision whose temporary checkout `home` is; None for any other version."""
    note: str | None = None
    """What the user should know before the version is measured; None if there is nothing."""


THIS = Version(name="this version", home=HOME)


@contextlib.contextmanager
def found_version(
    base: str, home: Path = HOME, *, build: bool = False, announce: Callable[[str], None] = lambda line: None
) -> Iterator[Version]:
    """Yield the version that `base` names, and remove what it needed at the end.

    Args:
        base: Python, folder or git revision.
        home: Folder in the repository that holds git revisions.
        build: Whether to build an environment for a revision that pins other packages than those installed here.
        announce: Called with a line before an environment is built.

    Raises `UsageError` if `base` names no version, if a revision cannot be checked out, or if its environment cannot be
    built.
    """
    if (existing := _existing(base)) is not None:
        if build:
            raise UsageError(f"--build is for a git revision, and {existing.name} is none; leave it out")
        yield existing
        return
    commit = _commit(base, home)
    with _worktree(base, commit, home) as folder:
        version = Version(name=f"revision {base}", home=folder, revision=base)
        differing = differing_pins(folder)
        if not (build and differing):
            yield replace(version, note=_note(base, differing))
            return
        announce(f"building an environment with the packages that revision {base} pins, which takes minutes")
        with built_environment(base, folder) as built:
            yield replace(version, python=built)


@contextlib.contextmanager
def given_version(given: str | Version, *, build: bool, announce: Callable[[str], None]) -> Iterator[Version]:
    """Yield a version that is given as it is, or by its name as `found_version` reads it."""
    if isinstance(given, Version):
        yield given
    else:
        with found_version(given, build=build, announce=announce) as version:
            yield version


def _existing(base: str) -> Version | None:
    """Return the version of a Python, a checkout or an environment; None if `base` is nothing of this kind."""
    path = Path(base)
    if is_file(path):
        if not os.access(path, os.X_OK):
            raise UsageError(f"--against {base}: the file cannot be executed; {KINDS}")
        return Version(name=f"the Python {base}", python=str(path.absolute()))
    if not _is_folder(path):
        return None
    if _has_packages(path):
        return Version(name=f"the checkout {base}", home=path.resolve())
    python = interpreter_of(path)
    return None if python is None else Version(name=f"the environment {base}", python=str(python.absolute()))


def revisions_between(
    good: str, bad: str, home: Path = HOME, *, paths: Sequence[str] = PACKAGES
) -> list[tuple[str, str]]:
    """Return the commits after `good` up to `bad` that change one of some paths, oldest first, with their subjects.

    Of a merge, only the first parent counts: a merged branch is one change.

    Args:
        good: A git revision.
        bad: A later revision.
        home: Folder of the packages, in the repository that holds the revisions.
        paths: Files and folders, relative to `home`.

    Raises `UsageError` if one of the two is no revision, or if `good` is no ancestor of `bad`.
    """
    for name, revision in (("GOOD", good), ("BAD", bad)):
        if revision.endswith(DIRTY) or _git(home, *VERIFY, f"{revision}^{{commit}}").returncode:
            raise UsageError(f"{name} {revision} is no git revision of {home}; give a commit, a tag or a branch")
    if _git(home, "merge-base", "--is-ancestor", good, bad).returncode:
        raise UsageError(f"{good} is no ancestor of {bad}; give the older revision first, on the same branch")
    options = ("--first-parent", "--reverse", "--format=%H %s")
    listed = _git(home, "--literal-pathspecs", "log", *options, f"{good}..{bad}", "--", *paths).stdout.splitlines()
    return [(commit, subject) for commit, _, subject in (line.partition(" ") for line in listed)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # as for `is_file`
        return False


def _has_packages(folder: Path) -> bool:
    return all(is_file(folder / package / "__init__.py") for package in PACKAGES)


def _commit(revision: str, home: Path) -> str:
    """Return the name of the commit of a revision. Raises `UsageError` if there is none."""
    if shutil.which("git") is None:
        raise UsageError(f"--against {revision} is no file or folder, and git is missing to find a revision; {KINDS}")
    if revision.endswith(DIRTY):
        raise UsageError(
            f"--against {revision}: uncommitted changes are in no revision; give the folder that holds them instead"
        )
    found = _git(home, *VERIFY, f"{revision}^{{commit}}")
    if found.returncode:
        where = "a folder" if _is_folder(Path(revision)) else "no file or folder"
        lacks = " without Carousel's packages" if where == "a folder" else ""
        raise UsageError(f"--against {revision} is {where}{lacks}, and no git revision of {home}; {KINDS}")
    return found.stdout.strip()


@contextlib.contextmanager
def _worktree(revision: str, commit: str, home: Path) -> Iterator[Path]:
    """Check out a commit into a temporary folder, yield the folder of its packages, and remove it."""
    previous = signal.signal(signal.SIGTERM, _interrupt)  # otherwise a cancelled job would leave the folder behind
    scratch: Path | None = None
    try:
        try:
            scratch = Path(tempfile.mkdtemp(prefix="carousel-against-"))
        except OSError as error:
            raise UsageError(
                f"--against {revision}: cannot create a temporary folder: {error.strerror}; set TMPDIR to a folder "
                "with space"
            ) from None
        tree = scratch / "tree"
        added = _git(home, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        if added.returncode:
            reason = _last_line(added.stderr) or f"git ended with exit code {added.returncode}"
            raise UsageError(
                f"--against {revision}: cannot check it out into {scratch.parent}: {reason}; free space or set "
                "TMPDIR to another folder"
            )
        folder = tree / _git(home, "rev-parse", "--show-prefix").stdout.strip()
        if not _has_packages(folder):
            raise UsageError(f"--against {revision}: this revision does not hold Carousel's packages; {KINDS}")
        _copy_kernels(home, folder)
        yield folder
    finally:
        if scratch is not None:
            _remove(home, scratch)
        signal.signal(signal.SIGTERM, previous)


def _remove(home: Path, scratch: Path) -> None:
    """Remove a temporary folder and the worktree in it."""
    removed = _git(home, "worktree", "remove", "--force", str(scratch / "tree"))
    shutil.rmtree(scratch, ignore_errors=True)
    if removed.returncode:  # pruning also forgets other worktrees whose folders are missing
        _git(home, "worktree", "prune")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End the command as Ctrl-C does."""
    raise KeyboardInterrupt


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
                shutil.copyfile(path, copy)


def _note(revision: str, differing: Sequence[str]) -> str | None:
    """Return a line on the packages that a revision pins to other versions than those installed; None without any."""
    if not differing:
        return None
    more = f" and {len(differing) - MAX_SHOWN_PINS} more" if len(differing) > MAX_SHOWN_PINS else ""
    return (
        f"revision {revision} pins {', '.join(differing[:MAX_SHOWN_PINS])}{more}; both versions are measured with the "
        "installed packages; to measure it with its own, give --build"
    )


def _git(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a git command in a folder. Variables of a hook, which may name another repository, are left out."""
    program = shutil.which("git")
    assert program is not None
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(  # noqa: S603  (no shell)
        [program, "-c", f"safe.directory={home}", "-c", "core.hooksPath=/dev/null", "-C", str(home), *arguments],
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        env=variables,
        stdin=subprocess.DEVNULL,
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if informative_line(line)]
    return lines[-1].removeprefix("fatal: ") if lines else ""
