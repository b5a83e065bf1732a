"""Check that an installation is complete.

`tox -e package` runs this file outside the checkout, with the checkout's folder as its argument. Every file of the five
packages must be installed, and the main commands must work.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("arch", "tasks", "bench", "results", "reports")
NOT_SHIPPED = (".pyc", ".pyo", ".nbi", ".nbc")


def package_files(home: Path) -> Iterator[str]:
    """Yield the files of the packages in a checkout, as relative paths. Compiled files are left out."""
    for package in PACKAGES:
        for path in (home / package).rglob("*"):
            if path.is_file() and path.suffix not in NOT_SHIPPED and "__pycache__" not in path.parts:
                yield path.relative_to(home).as_posix()


def missing(checkout: Path, installed: Path) -> list[str]:
    """Return the package files of the checkout that are not installed, as sorted relative paths."""
    return sorted(name for name in package_files(checkout) if not (installed / name).is_file())


def main(checkout: Path) -> int:
    """Print the missing files and the exit codes of the main commands. Return 0 if all is well.

    Return 1 if a file is missing, if a command fails, or if Python imports the checkout itself.
    """
    installed = Path(importlib.import_module("arch").__file__ or "").resolve().parent.parent
    if installed == checkout:
        print(f"Python imports the checkout {checkout}, not an installation: run this outside the checkout")
        return 1
    absent = missing(checkout, installed)
    for name in absent:
        print(f"missing: {name}")
    for words in (["--version"], ["--help"], ["list", "archs"], ["list", "plans"], ["validate", "rnn", "parity"]):
        ended = subprocess.run([sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=False)
        print(f"carousel {' '.join(words)}: exit {ended.returncode}")
        if ended.returncode:
            print(ended.stderr)
            return 1
    version = importlib.metadata.version("carousel-bench")
    print(f"version {version} is installed; the checkout has {len(list(package_files(checkout)))} package files")
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
