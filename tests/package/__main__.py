"""Is what was installed whole? Run by `tox -e package` outside the checkout: python -m tests.package, its folder given.

Every file of the five rooms must have come along, and every plan, template and style must be readable from there.
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


def belonging(home: Path) -> Iterator[str]:
    """The files of the rooms in a checkout, by their places."""
    for room in PACKAGES:
        for path in (home / room).rglob("*"):
            if path.is_file() and path.suffix not in NOT_SHIPPED and "__pycache__" not in path.parts:
                yield path.relative_to(home).as_posix()


def missing(checkout: Path, installed: Path) -> list[str]:
    """What belongs to the rooms of the checkout, and is not installed."""
    return sorted(name for name in belonging(checkout) if not (installed / name).is_file())


def main(checkout: Path) -> int:
    """Say what is missing; the exit code."""
    installed = Path(importlib.import_module("arch").__file__ or "").resolve().parent.parent
    if installed == checkout:
        print(f"this looks at the checkout {checkout} and not at what was installed; run it elsewhere")
        return 1
    lacking = missing(checkout, installed)
    for name in lacking:
        print(f"missing: {name}")
    for words in (["--version"], ["--help"], ["list", "archs"], ["list", "plans"], ["validate", "rnn", "parity"]):
        ended = subprocess.run([sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=False)
        print(f"carousel {' '.join(words)}: exit {ended.returncode}")
        if ended.returncode:
            print(ended.stderr)
            return 1
    print(f"{importlib.metadata.version('carousel-bench')} is installed with {len(list(belonging(checkout)))} files")
    return 1 if lacking else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
