"""The work that measures the machine's limits is really done: results equal those of NumPy and of hand computation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from arch.kernels import limits
from arch.kernels.simd.vector import LANES

GROUP_BYTES = 4 * LANES * limits.GROUP


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("memory_bytes", [1, GROUP_BYTES, 7 * GROUP_BYTES + 5, 300_000])
def test_every_order_reads_each_number_once_per_pass(memory_bytes: int, threads: int) -> None:
    works = limits.reads(memory_bytes, 10 * memory_bytes)
    groups = max(1, memory_bytes // GROUP_BYTES)
    assert len(works) == len(limits.ORDERS)
    for work in works:
        sums = work.call()
        assert isinstance(sums, list)
        assert sum(sums) == work.amount / 4  # all numbers are 1, and these sums are exact
        assert work.amount % (groups * GROUP_BYTES) == 0
        assert work.amount >= 10 * memory_bytes


@pytest.mark.parametrize("order", range(len(limits.ORDERS)))
def test_an_order_reads_different_addresses(order: int) -> None:
    numbers = np.arange(3 * limits.GROUP * LANES, dtype=np.float32)
    total = limits.read_passes(numbers.ctypes.data, 3 * limits.GROUP, 1, order)
    assert total == numbers.sum()


@pytest.mark.parametrize(("M", "K", "N"), [(1, 5, 20), (3, 1, 7), (17, 40, 33), (64, 8, 100)])
def test_products_equal_those_of_numpy(M: int, K: int, N: int) -> None:
    works = limits.products(M, K, N)
    assert len(works) == (2 if M == 1 else 1)
    for work in works:
        product = work.call()
        assert isinstance(product, np.ndarray)
        np.testing.assert_array_equal(product, np.full((M, N), K / 4, np.float32))
        assert work.amount % (2 * M * K * N) == 0
        assert work.amount >= limits.MIN_FLOPS


def test_multiply_adds_follow_their_recurrence(threads: int) -> None:
    # s becomes s / 2 + 1 / 2 in each round: 1 - 2^-n after n rounds
    for rounds in (1, 2, 5):
        total = limits.multiply_add_rounds(rounds)
        assert total == limits.ACCUMULATORS * LANES * (1 - 2.0**-rounds)
    work = limits.multiply_adds()
    assert work.call() == [limits.ACCUMULATORS * LANES] * threads
    assert work.amount % (2 * limits.ACCUMULATORS * LANES * threads) == 0
    assert work.amount >= limits.MIN_FLOPS * threads
