"""Hold the machine lock until standard input closes: `python -m tests.bench.lock_holder training FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from bench.machine import lock

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    lock.lock_folder = lambda: folder
    with lock.machine_lock(cast(lock.Work, sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
