"""Runs without a compiler or a cache folder: scores like those of a usual run, and one line that says why.

Numba reads its environment variables when it is imported, so each run is a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from numba.core import caching

import arch
from arch.kernels.runtime import cache
from results import Run, Store
from tests.bench.runs import reproducible_content
from tests.bench.tiny import TINY, write_plan

HOME = Path(arch.__file__).parents[1]
PACKAGES = ("arch", "bench", "reports", "results", "tasks")
PLAN = TINY.replace("steps = 1\n", "steps = 20\n").replace("seeds = 2", "seeds = 1")

pytestmark = pytest.mark.slow


class Ended(NamedTuple):
    run: Run
    errors: str


def carousel_run(folder: Path, store: str, *, source: Path = HOME, **variables: str) -> Ended:
    """Run the tiny plan in a new process, with two workers.

    Args:
        folder: folder of the plan, the stores and temporary files.
        store: name of the store in `folder`.
        source: folder of Carousel's packages.
        variables: environment variables that are added.
    """
    plan = write_plan(folder, PLAN)
    environment = os.environ | {"PYTHONPATH": str(source), "TMPDIR": str(folder)} | variables
    options = ["-q", "--workers", "2", "--measure", "accuracy", "--store", str(folder / store)]
    command = [sys.executable, "-m", "bench", "run", str(plan), *options]
    ended = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (run,) = Store(folder / store).runs()
    return Ended(run, ended.stderr)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return carousel_run(tmp_path_factory.mktemp("usual"), "usual")


def scores(run: Run) -> dict[str, tuple[float, ...]]:
    """Return the test scores of each case, by its key."""
    records, damaged = run.read()
    assert records and not damaged
    return {
        key: tuple(
            sample
            for measurement in record.measurements
            if measurement.metric == "accuracy"
            for sample in measurement.samples
        )
        for key, record in records.items()
    }


def test_a_usual_run_says_nothing_about_its_kernels(usual: Ended) -> None:
    assert "kernels" not in usual.errors and "equations" not in usual.errors


def test_a_run_without_a_compiler_has_the_same_scores(tmp_path: Path, usual: Ended) -> None:
    ended = carousel_run(tmp_path, "equations", NUMBA_DISABLE_JIT="1")
    assert ended.errors == "the equations run, and no compiled kernels: NUMBA_DISABLE_JIT switches the compiler off\n"
    expected, found = scores(usual.run), scores(ended.run)
    assert found.keys() == expected.keys()
    for key in expected:
        assert expected[key]
        assert found[key] == pytest.approx(expected[key])


def test_a_read_only_installation_without_a_home_has_the_same_records(tmp_path: Path, usual: Ended) -> None:
    """Regular files replace the folders of caches and the home, because root can write to any folder."""
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(HOME / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
        for folder in (source / package, *(path for path in (source / package).rglob("*") if path.is_dir())):
            (folder / "__pycache__").write_bytes(b"")
    private = tmp_path / cache.private_folder().name
    private.mkdir(mode=0o700)
    for file in (HOME / "arch" / "kernels").rglob("checked-*"):  # compiling all kernels again takes half a minute
        kept = source / file.relative_to(HOME).parents[1] / "any.py"
        folder = private / caching.UserWideCacheLocator.get_suitable_cache_subpath(str(kept))
        folder.mkdir(exist_ok=True)
        shutil.copyfile(file, folder / file.name)
    ended = carousel_run(tmp_path, "records", source=source, HOME=str(source / "arch" / "__init__.py"))
    line = "kernels are kept in a private folder for temporary files, because no other cache folder can be written"
    assert [found for found in ended.errors.splitlines() if "kernels" in found] == [line]  # matplotlib needs a home too
    assert reproducible_content(ended.run) == reproducible_content(usual.run)
