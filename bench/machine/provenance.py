"""Identify the code that measures: its git commit and a digest of its source files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MEASURING_PACKAGES = ("arch", "tasks", "bench", "results")
"""The rooms whose code decides what a record says; a change in `reports` makes no record stale."""

HOME = Path(__file__).resolve().parents[2]

GIT_SECONDS = 5.0
"""A repository on a sleeping disk may take this long; then a run goes on without its commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The commit that the code is at, and whether files differ from it; None where it is no checkout."""

    commit: str | None = None
    modified: bool | None = None


def checkout(home: Path = HOME) -> Checkout:
    """What git says of Carousel's own repository. A repository that merely lies around an installed copy is not it."""
    if _git(home, "ls-files", "--error-unmatch", "--", str(Path(__file__).resolve().relative_to(HOME))) is None:
        return Checkout()
    commit = _git(home, "rev-parse", "HEAD")
    status = _git(home, "status", "--porcelain")
    if commit is None:
        return Checkout()
    return Checkout(commit=commit, modified=None if status is None else bool(status))


def code_digest() -> str:
    """Ten hexadecimal digits that change with any source file that has a part in measuring."""
    content = hashlib.sha256()
    for room in MEASURING_PACKAGES:
        for path in sorted((HOME / room).rglob("*.py")):
            content.update(f"{path.relative_to(HOME).as_posix()}\n".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:10]


def _git(home: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, no such repository, or no answer in time."""
    program = shutil.which("git")
    if program is None:
        return None
    # A hook of another repository would point git to that one.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        ended = subprocess.run(  # noqa: S603  (fixed words)
            [program, "--no-optional-locks", "-C", str(home), *words],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.strip()
