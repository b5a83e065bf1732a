"""Every file of the packages is declared to setuptools. `tests.package` reports missing files."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from setuptools import find_packages

from tests.package.__main__ import PACKAGES, main, missing, package_files

HOME = Path(__file__).resolve().parents[2]


def test_every_file_is_in_a_declared_package() -> None:
    setuptools = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = find_packages(str(HOME), include=setuptools["packages"]["find"]["include"])
    packages = {name.replace(".", "/") for name in found}
    data = {name.replace(".", "/"): patterns for name, patterns in setuptools["package-data"].items()}
    for name in package_files(HOME):
        path = PurePosixPath(name)
        if path.suffix == ".py":
            assert path.parent.as_posix() in packages, f"{name} is in no package of pyproject.toml"
            continue
        patterns = [f"{package}/{glob}" for package, globs in data.items() if package != "*" for glob in globs]
        patterns += [f"{package}/{glob}" for package in packages for glob in data["*"]]
        assert any(path.match(pattern) for pattern in patterns), f"{name} matches no package-data of pyproject.toml"


def test_every_package_is_marked_as_typed() -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(package_files(HOME))


def test_missing_files_are_reported(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(HOME / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert missing(HOME, tmp_path) == []
    (tmp_path / "bench" / "plans" / "quick.toml").unlink()
    (tmp_path / "tasks" / "py.typed").unlink()
    assert missing(HOME, tmp_path) == ["bench/plans/quick.toml", "tasks/py.typed"]


def test_checkout_is_not_accepted_as_an_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(HOME) == 1
    assert "run this outside the checkout" in capsys.readouterr().out
