"""The table of steps inside a compiled loop: rows, aims and limits equal values computed by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch

from arch.core.attention.cache import Cache
from tests.perf import loop
from tests.perf.baselines import Timed, ours
from tests.perf.limits import Limits


@pytest.fixture(autouse=True)
def like_a_benchmark() -> Iterator[None]:
    """Use one thread, and undo the flushing of denormal numbers that measuring the limits switches on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def row(name: str, width: int, position: int | None, *seconds: float, byte_count: int = 1000) -> loop.Row:
    """Return a row with equal rounds, on a machine that reads 1 GB/s."""
    limits = Limits(byte_count, 1, [1e9, 0.5e9], [1e12])
    return loop.Row(name, width, position, limits, Timed(tuple((second,) * 5 for second in seconds)))


@pytest.mark.parametrize(("name", "position"), [("lstm", None), ("transformer", 128)])
def test_every_contestant_is_timed_in_each_round(name: str, position: int | None) -> None:
    with torch.inference_mode():
        measured = loop.measure_case(name, 32, position, random.Random(0), turns=2, rounds=3)
    assert [len(samples) for samples in measured.timed.seconds] == [6] * (3 if name == "lstm" else 2)
    assert all(second > 0 for samples in measured.timed.seconds for second in samples)
    model = ours(name, 32, 32)
    first = position or 1
    costs = [model.step_bytes(first + t) for t in range(loop.STEPS[name])]
    assert measured.limits.step_bytes == round(sum(cost for cost in costs if cost is not None) / len(costs))
    assert len(measured.limits.bandwidths) == len(measured.limits.peaks) > 0


@pytest.mark.parametrize("steps", [0, 1, 127])
def test_a_cache_has_room_for_all_steps_of_a_burst(steps: int) -> None:
    with torch.inference_mode():
        for cache in loop.past_of(ours("transformer", 32, 32), steps, 17):
            assert isinstance(cache, Cache)
            assert (cache.length, cache.position) == (steps, steps)
            assert cache.keys_BNSK.shape[2] >= steps + 17


def test_a_row_equals_values_computed_by_hand() -> None:
    one = row("lstm", 32, None, 2e-6, 12e-6, 14e-6)  # the limit is 1 µs
    assert one.share() == pytest.approx(0.5, rel=1e-12)
    assert one.share(1) == pytest.approx(1 / 12, rel=1e-12)
    assert one.call_seconds() == pytest.approx((10e-6, 10e-6), rel=1e-9)
    assert one.spread(0) == 0
    assert loop.table([one]).splitlines()[2] == (
        "| `lstm` 2×32 | 2.00 ±0% | 12.0 ±0% | 14.0 ±0% | 1.00 | 1 GB/s | 50% | 7% | 10.0 |"
    )
    other = row("transformer", 64, 1024, 2e-6, 4e-6)
    assert loop.table([other]).splitlines()[2] == (
        "| `transformer` 2×64 at 1,024 | 2.00 ±0% | 4.00 ±0% |  | 1.00 | 1 GB/s | 50% |  | 2.00 |"
    )


def test_the_spread_is_half_the_distance_of_the_quartiles() -> None:
    limits = Limits(1000, 1, [1e9], [1e12])
    one = loop.Row("rnn", 32, None, limits, Timed(((1.0, 2.0, 3.0, 4.0, 5.0),)))
    assert one.spread(0) == pytest.approx(1 / 3, rel=1e-12)


@pytest.mark.parametrize(("gigabytes", "micro"), [(50, 1.0), (100, 1.0), (125, 0.8), (200, 0.5)])
def test_the_aim_of_a_small_step_follows_the_bandwidth_but_never_exceeds_a_microsecond(
    gigabytes: int, micro: float
) -> None:
    assert loop.small_step_aim(gigabytes * 1e9) == pytest.approx(micro * 1e-6, rel=1e-12)


@pytest.mark.parametrize(
    ("one", "reached"),
    [
        (row("lstm", 256, None, 1.24e-6, 6e-6), [True, True]),
        (row("lstm", 256, None, 1.26e-6, 6e-6), [False, True]),
        (row("gru", 32, None, 0.79e-6, 5e-6), [True, True]),
        (row("gru", 32, None, 0.81e-6, 5e-6), [False, True]),
        (row("rnn", 64, None, 9e-6, 13.9e-6), [True]),
        (row("rnn", 64, None, 9e-6, 14.1e-6), [False]),
        (row("rnn", 64, None, 51e-6, 70e-6), []),
        (row("transformer", 32, 1, 9e-6, 10e-6), [True]),
        (row("transformer", 32, 128, 1.99e-6, 3e-6), [True, True]),
        (row("transformer", 32, 128, 2.01e-6, 3e-6), [False, True]),
    ],
)
def test_each_aim_is_missed_just_beyond_it(one: loop.Row, reached: list[bool]) -> None:
    assert [held for _, held in loop.aims([one], 125e9)] == reached


def test_an_overhead_within_its_noise_is_no_miss() -> None:
    limits = Limits(1000, 1, [1e9], [1e12])
    called = tuple(10e-6 + noise * 1e-6 for noise in (-30, -3, 6, 7, 30))
    one = loop.Row("rnn", 64, None, limits, Timed(((1e-6,) * 5, called)))
    assert one.call_seconds()[0] == pytest.approx(15e-6, rel=1e-9)
    assert [held for _, held in loop.aims([one], 1e9)] == [True]
