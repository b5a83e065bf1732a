"""The smallest plan runs, and its results are shown, with nothing installed but what Carousel requires.

Modules of all other distributions of the environment cannot be imported, in the command and in its worker processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.machine.provenance import HOME

HIDE = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in {hidden!r} else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hiding, sys.meta_path)
"""


def required_by(name: str) -> set[str]:
    """Return the names of a distribution and of all that it requires without extras."""
    found, waiting = set[str](), [canonicalize_name(name)]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


@pytest.mark.slow
def test_the_smallest_plan_runs_without_extras(tmp_path: Path) -> None:
    required = required_by("carousel-bench")
    hidden = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if not required & set(map(canonicalize_name, distributions))
    }
    assert {"pytest", "sklearn", "pyarrow", "distributed", "ruptures"} <= hidden
    assert not {"torch", "numba", "matplotlib", "bench"} & hidden
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    path = os.pathsep.join([str(tmp_path), str(HOME)])

    def carousel(*words: str) -> str:
        command = [sys.executable, "-m", "bench", *words, "--store", str(tmp_path / "runs")]
        environment = os.environ | {"PYTHONPATH": path, "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, env=environment, cwd=HOME, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    carousel("run", "smoke", "--no-resume")
    assert "| " in carousel("show", "--format", "markdown")
    with pytest.raises(AssertionError, match=r"needs pyarrow|pip install"):
        carousel("export", "latest", "--output", str(tmp_path / "scores.parquet"))
