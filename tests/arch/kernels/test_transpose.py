"""Compare the transpose in registers, and loads of arrays that may be missing, with numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from arch.kernels.simd.matvec import floats, load_if
from arch.kernels.simd.transpose import transpose
from arch.kernels.simd.vector import LANES, store


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (LANES, LANES), (LANES + 1, 2 * LANES + 3)], ids=str)
def test_a_transpose_equals_that_of_numpy(shape: tuple[int, int]) -> None:
    rows, columns = shape
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    padded = -(-rows // LANES) * LANES
    target = np.full(5 + (columns + LANES) * padded, np.nan, np.float32)
    transpose(np.concatenate([[np.float32(7)], matrix.ravel()]), 1, rows, columns, target, 5, padded)
    found = target[5 : 5 + columns * padded].reshape(columns, padded)
    assert np.array_equal(found[:, :rows], matrix.T) and not found[:, rows:].any()
    assert np.isnan(target[:5]).all()


@njit
def _loaded(address, count, result):  # type: ignore[no-untyped-def]
    store(result, 0, load_if(address != 0, floats(address), 1, count))


def test_a_missing_array_is_zeros() -> None:
    numbers, result = np.arange(2 * LANES, dtype=np.float32), np.full(LANES, np.nan, np.float32)
    _loaded(0, LANES, result)
    assert not result.any()
    _loaded(numbers.ctypes.data, 3, result)
    assert result.tolist() == [1.0, 2.0, 3.0, *[0.0] * (LANES - 3)]
