"""A git repository with the folders of Carousel's packages, and programs that stand for other Pythons."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.against.version import PACKAGES


def git(folder: Path, *arguments: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "init.defaultBranch=main")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout.strip()


def add_packages(folder: Path) -> None:
    for package in PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text("")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository whose first commit lacks the packages and whose second commit, `HEAD`, has them."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "constraints.txt").write_text("numpy==0.0.1\nnot-installed==1.0\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    add_packages(folder)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "second")
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, in which temporary folders are created."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def program(path: Path, text: str) -> Path:
    """Write an executable file with this shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
