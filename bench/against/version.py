"""Find the version that `--against` names: another Python, another checkout, or a git revision.

    a file that can be executed, or a folder with `bin/python`    the Carousel that this Python imports
    a folder with the five packages                               that folder, run by this Python
    anything else                                                 a git revision, checked out into a temporary folder

This Python also runs a revision, unless it pins other packages and an environment is built for them. What is temporary
is removed at the end, also after an error, Ctrl-C, SIGTERM or SIGHUP.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.against.environment import built_environment, differing_pins, interpreter_of, is_file
from bench.against.termination import interrupted_by_signals
from bench.against.worktree import checked_out, git
from bench.errors import UsageError
from bench.machine.provenance import HOME

PACKAGES = ("arch", "tasks", "bench", "results", "reports")
DIRTY = "-dirty"
"""Ending by which `git describe --dirty` marks a commit with uncommitted changes."""
MAX_SHOWN_PINS = 3
SAME_CODE = "both versions have the same code: only noise can differ, unless their environments or plugins do"
"""What a check says if it can find nothing in the code."""
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


def require_named(base: str) -> None:
    """Raise `UsageError` if a base is empty. Its path would be the working folder, so a version would be its own base.

    A variable of a script or of a workflow is empty if nothing has set it.
    """
    if not base.strip():
        raise UsageError(f"--against is empty and names no base; {KINDS}")


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
    require_named(base)
    with interrupted_by_signals():
        if (existing := _existing(base)) is not None:
            if build:
                raise UsageError(f"--build is for a git revision, and {existing.name} is none; leave it out")
            yield existing
            return
        with checked_out(base, _commit(base, home), home) as checkout:
            if not _has_packages(checkout.home):
                raise UsageError(f"--against {base}: this revision does not hold Carousel's packages; {KINDS}")
            version = Version(name=f"revision {base}", home=checkout.home, revision=base)
            differing = differing_pins(checkout.home)
            if not (build and differing):
                yield replace(version, note=_note(base, differing))
                return
            announce(f"building an environment with the packages that revision {base} pins, which takes minutes")
            with built_environment(base, checkout.home, checkout.scratch) as built:
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


def require_revision(name: str, revision: str) -> None:
    """Raise `UsageError` if the revision that the argument `name` gives is empty."""
    if not revision.strip():
        raise UsageError(f"{name} is empty and names no revision; give a commit, a tag or a branch")


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
        require_revision(name, revision)
        if revision.endswith(DIRTY) or git(home, *VERIFY, f"{revision}^{{commit}}").returncode:
            raise UsageError(f"{name} {revision} is no git revision of {home}; give a commit, a tag or a branch")
    if git(home, "merge-base", "--is-ancestor", good, bad).returncode:
        raise UsageError(f"{good} is no ancestor of {bad}; give the older revision first, on the same branch")
    options = ("--first-parent", "--reverse", "--format=%H %s")
    listed = git(home, "--literal-pathspecs", "log", *options, f"{good}..{bad}", "--", *paths).stdout.splitlines()
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
    found = git(home, *VERIFY, f"{revision}^{{commit}}")
    if found.returncode:
        where = "a folder" if _is_folder(Path(revision)) else "no file or folder"
        lacks = " without Carousel's packages" if where == "a folder" else ""
        raise UsageError(f"--against {revision} is {where}{lacks}, and no git revision of {home}; {KINDS}")
    return found.stdout.strip()


def _note(revision: str, differing: Sequence[str]) -> str | None:
    """Return a line on the packages that a revision pins to other versions than those installed; None without any."""
    if not differing:
        return None
    more = f" and {len(differing) - MAX_SHOWN_PINS} more" if len(differing) > MAX_SHOWN_PINS else ""
    return (
        f"revision {revision} pins {', '.join(differing[:MAX_SHOWN_PINS])}{more}; both versions are measured with the "
        "installed packages; to measure it with its own, give --build"
    )
