"""Scratch memory begins where a cache line begins, and kernels take theirs from there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from numba import njit

from arch.kernels.simd import scratch
from arch.kernels.simd.prefetch import LINE

KERNELS = Path(scratch.__file__).parents[1]


@njit
def arrays_of(count):  # type: ignore[no-untyped-def]
    """Return `count` uninitialised numbers, zeros and ones."""
    return scratch.empty(count), scratch.zeros(count), scratch.ones(count)


@pytest.mark.parametrize("count", [1, LINE - 1, LINE, 1_000, 100_000])
def test_scratch_begins_a_cache_line(count: int) -> None:
    held = [array for extra in range(40) for array in arrays_of(count + extra)]
    for number, array in enumerate(held):
        assert array.ctypes.data % 64 == 0 and len(array) == count + number // 3
        assert number % 3 == 0 or (array == number % 3 - 1).all()
        array[:] = number  # writes into no other array
    assert all((array == number).all() for number, array in enumerate(held))


def test_kernels_have_no_other_scratch() -> None:
    other = re.compile(r"np\.(empty|zeros|ones|full)\([^\n]*?\n?[^\n]*?np\.float32")
    others = ("scratch.py", "limits.py")
    sources = [path for path in KERNELS.rglob("*.py") if path.name not in others]
    assert sources and [str(path) for path in sources if other.search(path.read_text(encoding="utf-8"))] == []
