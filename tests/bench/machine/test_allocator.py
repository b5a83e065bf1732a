"""A process that keeps what it frees does not ask the system for the same pages again."""

from __future__ import annotations

import platform
import subprocess
import sys

ROUNDS, ARRAYS, PAGES_OF_AN_ARRAY = 20, 10, 1024
SCRIPT = f"""
import resource, sys
import numpy
from bench.machine.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def work():
    arrays = [numpy.ones(4096 * {PAGES_OF_AN_ARRAY}, numpy.uint8) for _ in range({ARRAYS})]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_pages_are_taken_once() -> None:
    def faults(way: str) -> int:
        ran = subprocess.run([sys.executable, "-c", SCRIPT, way], capture_output=True, text=True, check=True)
        return int(ran.stdout)

    of_all = ROUNDS * ARRAYS * PAGES_OF_AN_ARRAY
    kept, handed_back = faults("kept"), faults("handed back")
    if platform.libc_ver()[0] == "glibc":
        assert kept < of_all / 100
        assert handed_back > of_all / 10
