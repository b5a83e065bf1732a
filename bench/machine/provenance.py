"""Identity of the code that measures: its git commit and a digest of its source files."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MEASURING_PACKAGES = ("arch", "tasks", "bench", "results")
"""Packages whose code can change a record. Records stay valid if only `reports` changes."""

SOURCE_SUFFIXES = (".py", ".toml")
"""Endings of the source files in the measuring packages: code and plans."""

HOME = Path(__file__).resolve().parents[2]

COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
"""The name of a commit: SHA-1 or SHA-256."""

GIT_SECONDS = 5.0
"""Time limit per git command in seconds. A command that takes longer counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Git commit of the code, and whether the code differs from that commit. Both are None without a repository."""

    commit: str | None = None
    modified: bool | None = None
    """Whether the code of the measuring packages differs from the commit; None if git cannot tell."""


def checkout(home: Path = HOME) -> Checkout:
    """Return the commit of Carousel's own repository in the folder `home`, and whether the code differs from it.

    Only the code of `MEASURING_PACKAGES` counts. Other files in the clone, such as stored runs, reports and documents,
    do not change what is measured. Both results are None if git does not track this code. For example, git does not
    track an installed copy inside another repository. If git is missing or fails, the commit is read from the
    repository's files.
    """
    if _git(home, "ls-files", "--error-unmatch", "--", str(Path(__file__).resolve().relative_to(HOME))) is None:
        return Checkout() if _git(home, "rev-parse", "HEAD") is not None else Checkout(commit=_commit_in(home / ".git"))
    commit = _git(home, "rev-parse", "HEAD")
    if commit is None:
        return Checkout()
    # A run may be stored inside a package. So new files count only if they are source files, also if git ignores them.
    sources = [f":(glob){package}/**/*{suffix}" for package in MEASURING_PACKAGES for suffix in SOURCE_SUFFIXES]
    changed = _git(home, "diff", "HEAD", "--name-only", "--ignore-submodules", "--", *MEASURING_PACKAGES)
    added = _git(home, "ls-files", "--others", "--", *sources)
    return Checkout(commit=commit, modified=None if changed is None or added is None else bool(changed or added))


def repository_of(path: Path) -> Path | None:
    """Return the top folder of the git repository that contains a file or folder; None if there is none, or no git."""
    top = _git(path if path.is_dir() else path.parent, "rev-parse", "--show-toplevel")
    return None if not top else Path(top)


def commits_in_order(commits: Iterable[str], home: Path = HOME) -> list[str]:
    """Return those of the commits that the repository in the folder `home` has, oldest first.

    No commit comes before its parents. Apart from that, the time of the commit decides. The list is empty if git is
    missing or fails, or if there is no repository.
    """
    names = [commit for commit in dict.fromkeys(commits) if COMMIT.fullmatch(commit)]
    listed = _git(home, "rev-list", "--date-order", "--reverse", "--ignore-missing", *names) if names else None
    return [] if listed is None else [commit for commit in listed.splitlines() if commit in set(names)]


def _commit_in(repository: Path) -> str | None:
    """Return the commit that is checked out, according to the files of a repository; None if they do not say."""
    try:
        head = (repository / "HEAD").read_text(encoding="utf-8").strip()
        name = head.removeprefix("ref: ")
        if name == head:
            return head if COMMIT.fullmatch(head) else None
        if (repository / name).is_file():
            commit = (repository / name).read_text(encoding="utf-8").strip()
            return commit if COMMIT.fullmatch(commit) else None
        for line in (repository / "packed-refs").read_text(encoding="utf-8").splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name and COMMIT.fullmatch(commit):
                return commit
    except (OSError, ValueError):
        pass
    return None


def code_digest() -> str:
    """Return ten hexadecimal digits that change if any source file of the measuring packages changes."""
    content = hashlib.sha256()
    for package in MEASURING_PACKAGES:
        for path in sorted((HOME / package).rglob("*.py")):
            content.update(f"{path.relative_to(HOME).as_posix()}\n".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:10]


def _git(home: Path, *arguments: str) -> str | None:
    """Return the output of a git command in the folder `home`; None if git is missing, fails or times out."""
    program = shutil.which("git")
    if program is None:
        return None
    # In a hook of another repository, GIT_DIR would point git to that repository.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Git refuses a repository of another owner. Its code runs already, so its settings are trusted too.
    settings = ("-c", f"safe.directory={home}", "-c", "core.fileMode=false")
    try:
        result = subprocess.run(  # noqa: S603  (fixed arguments)
            [program, "--no-optional-locks", *settings, "-C", str(home), *arguments],
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
    return result.stdout.strip()
