"""A process that holds the machine until its standard input ends: `python -m tests.bench.holds training FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from bench import _holding

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    _holding._folder = lambda: folder
    with _holding.held(cast(_holding.Work, sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
