"""A process that holds the machine until its standard input ends: `python -m tests.bench.holds training FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from bench import _machine

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    _machine._folder = lambda: folder
    with _machine.held(cast(_machine.Work, sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
