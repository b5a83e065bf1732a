"""Everything in the rooms is declared to the builder, and the check of what was installed sees what is not there."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path, PurePosixPath

import pytest
from setuptools import find_packages

from tests.package.__main__ import PACKAGES, belonging, main, missing

HOME = Path(__file__).resolve().parents[2]


def test_every_file_of_the_rooms_is_in_a_declared_package() -> None:
    setuptools = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = find_packages(str(HOME), include=setuptools["packages"]["find"]["include"])
    packages = {name.replace(".", "/") for name in found}
    data = {name.replace(".", "/"): patterns for name, patterns in setuptools["package-data"].items()}
    for name in belonging(HOME):
        place = PurePosixPath(name)
        if place.suffix == ".py":
            assert place.parent.as_posix() in packages, f"{name} is in no package of pyproject.toml"
            continue
        patterns = [f"{package}/{one}" for package, some in data.items() if package != "*" for one in some]
        patterns += [f"{package}/{one}" for package in packages for one in data["*"]]
        assert any(place.match(pattern) for pattern in patterns), f"{name} matches no package-data of pyproject.toml"


def test_every_room_says_that_it_is_typed() -> None:
    assert {f"{room}/py.typed" for room in PACKAGES} <= set(belonging(HOME))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    for room in PACKAGES:
        shutil.copytree(HOME / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    assert missing(HOME, tmp_path) == []
    (tmp_path / "bench" / "plans" / "quick.toml").unlink()
    (tmp_path / "tasks" / "py.typed").unlink()
    assert missing(HOME, tmp_path) == ["bench/plans/quick.toml", "tasks/py.typed"]


def test_the_checkout_itself_is_no_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(HOME) == 1
    assert "not at what was installed" in capsys.readouterr().out
