"""Install a git revision, with the packages that it pins, in a temporary environment."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.machine.import_path import IMPORT_PATH

INTERPRETERS = (Path("bin", "python"), Path("Scripts", "python.exe"))
"""Where an environment has its Python, on POSIX systems and on Windows."""
PINS = "constraints.txt"
PINNING = (PINS, "pyproject.toml")
"""The files of a revision that decide which packages an environment built for it has."""
PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;]+)")


def is_file(path: Path) -> bool:
    """Return whether a path is a file. It is none if no file can have its name, or if it may not be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def interpreter_of(folder: Path) -> Path | None:
    """Return the Python of the environment in a folder; None if the folder has none."""
    return next((folder / each for each in INTERPRETERS if is_file(folder / each)), None)


def differing_pins(home: Path) -> list[str]:
    """Return the packages that the revision in a folder pins to other versions than those installed here."""
    try:
        pins = dict(PIN.findall((home / PINS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    differing = []
    for name, pinned in pins.items():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed = importlib.metadata.version(name)
            if installed.partition("+")[0] != pinned:
                differing.append(f"{name} {pinned} (installed: {installed})")
    return differing


@contextlib.contextmanager
def built_environment(revision: str, home: Path, within: Path) -> Iterator[str]:
    """Create an environment for the revision in a folder, yield its Python, and remove the environment.

    Args:
        revision: The revision as the user gave it.
        home: Folder of its packages.
        within: Temporary folder that gets the environment. A later run removes it if this one is killed.

    Raises `UsageError` if the environment cannot be created, or if a package cannot be installed.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="environment-", dir=within, ignore_cleanup_errors=True)
                )
            )
        except OSError as error:
            raise _refusal(revision, error.strerror or str(error)) from None
        _run(revision, [sys.executable, "-m", "venv", str(folder)])
        python = interpreter_of(folder)
        if python is None:
            raise _refusal(revision, "the environment has no Python")
        pins = home / PINS
        constraints = ["--constraint", str(pins)] if is_file(pins) else []
        options = ["--quiet", "--disable-pip-version-check", "--no-input", *constraints]
        _run(revision, [str(python), "-m", "pip", "install", *options, str(home)])
        yield str(python)


def _run(revision: str, command: Sequence[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if name != IMPORT_PATH}
    ended = subprocess.run(  # noqa: S603  (no shell)
        command, capture_output=True, check=False, encoding="utf-8", errors="replace", env=variables
    )
    if ended.returncode:
        said = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")]
        raise _refusal(revision, next(iter(errors or said[-1:]), f"exit code {ended.returncode}"))


def _refusal(revision: str, reason: str) -> UsageError:
    return UsageError(
        f"--against {revision}: its packages cannot be installed: {reason}; leave out --build to measure it with the "
        "packages that are installed here"
    )
