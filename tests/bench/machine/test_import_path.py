"""The order of `sys.path`: no file in the working directory replaces an installed module."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.machine.import_path import HOME, order_import_path, ordered

LIBRARY = str(Path(os.__file__).parent)


@pytest.mark.parametrize("entry", ["", "the working directory"])
def test_the_working_directory_is_searched_last(tmp_path: Path, entry: str) -> None:
    here = entry and str(tmp_path)
    installed = ["/somewhere", f"{LIBRARY}/site-packages", HOME]
    assert ordered([here, *installed, LIBRARY], str(tmp_path)) == [LIBRARY, *installed, here]


def test_a_checkout_as_working_directory_is_searched_before_other_packages() -> None:
    """Find Carousel's `arch` before the `arch` of another project."""
    assert ordered(["", LIBRARY, "/somewhere"], HOME) == [LIBRARY, "", "/somewhere"]


def test_all_folders_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    order_import_path()
    assert sorted(sys.path) == sorted(before)
    assert sys.path[-1] == str(tmp_path)
