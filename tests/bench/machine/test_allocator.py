"""Tests that a process reuses freed pages after `keep_freed_memory`, instead of requesting them again."""

from __future__ import annotations

import platform
import subprocess
import sys

ROUNDS, ARRAYS, PAGES_PER_ARRAY = 20, 10, 1024
SCRIPT = f"""
import resource, sys
import numpy
from bench.machine.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def work():
    arrays = [numpy.ones(4096 * {PAGES_PER_ARRAY}, numpy.uint8) for _ in range({ARRAYS})]

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_pages_are_reused() -> None:
    def page_faults(mode: str) -> int:
        result = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
        return int(result.stdout)

    all_pages = ROUNDS * ARRAYS * PAGES_PER_ARRAY
    kept, returned = page_faults("kept"), page_faults("returned")
    if platform.libc_ver()[0] == "glibc":
        assert kept < all_pages / 100
        assert returned > all_pages / 10
