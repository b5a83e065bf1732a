"""No step of a small model, timed inside compiled code, passes the measured limit of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch

from bench.machine.timer import seconds_per_call
from bench.probes import roofline
from tests.perf.limits import ARCHS, Case

MAX_ROUNDS = 10
"""Limits and steps are measured in turns, until the share is possible. On a loaded machine one round may not do."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SIZES = [*product(ARCHS, (32, 128), (1, 512)), ("lstm", 256, 1)]
"""The last one reads more than most processors keep in their caches, so little but reading limits it."""


@pytest.mark.parametrize(("name", "width", "position"), SIZES, ids=lambda value: str(value).partition(":")[0])
def test_no_step_passes_the_limit(name: str, width: int, position: int) -> None:
    case = Case(name, width, position)
    case.measure()
    for _ in range(1, MAX_ROUNDS):
        if case.share <= 1 + case.limits.spread:
            break
        case.measure()
    assert 0 < case.share <= 1 + case.limits.spread


def test_share_and_spread_equal_values_computed_by_hand() -> None:
    case = Case("rnn", 32, 1)
    limits = case.limits
    limits.bandwidths, limits.peaks = [1e9, 2e9, 1.5e9], [1e12, 3e12]
    case.step_seconds = 2 * limits.step_bytes / 2e9
    assert case.share == pytest.approx(0.5, rel=1e-12)
    assert limits.reads_bind
    assert limits.spread == 0.25
    limits.peaks, case.step_seconds = [limits.step_flops * 10.0], 0.2  # now arithmetic binds: a tenth of a second
    assert case.share == pytest.approx(0.5, rel=1e-12)
    assert not limits.reads_bind


RESOLUTION = 0.02
"""Spread of rates that are both at the limit of the memory."""


@pytest.mark.parametrize("kibibytes", [16, 256, 1536, 4096])
def test_compiled_reads_are_at_least_as_fast_as_a_sum_in_torch(kibibytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[float] = []
    by_torch: list[float] = []
    for _ in range(MAX_ROUNDS):
        roofline.read_rates.cache_clear()
        compiled += roofline.read_rates(kibibytes << 10, "cpu", 1, seconds_per_call)
        with monkeypatch.context() as without:
            without.setattr(roofline, "obstacle", lambda: "no compiler")
            roofline.read_rates.cache_clear()
            by_torch += roofline.read_rates(kibibytes << 10, "cpu", 1, seconds_per_call)
        if max(compiled) >= max(by_torch):
            break
    roofline.read_rates.cache_clear()
    assert max(compiled) >= (1 - RESOLUTION) * max(by_torch)
