"""Tests that the simulation of many workers agrees with results computed by hand."""

from __future__ import annotations

import pytest

from tests.perf.scaling import Costs, bottleneck, simulate

FREE = Costs(driver_writes=0.0, driver_messages=0.0, scheduler_messages=0.0, worker_startup=0.0, estimate_error=0.0)


def costs(**changes: float) -> Costs:
    return Costs(**({name: getattr(FREE, name) for name in FREE.__slots__} | changes))


def test_without_costs_equal_cases_fill_all_workers() -> None:
    assert simulate([2.0] * 12, 4, FREE) == pytest.approx(6.0)


def test_starting_the_longest_case_first_fills_all_workers() -> None:
    assert simulate([1.0, 1.0, 2.0, 4.0], 2, FREE) == pytest.approx(4.0)


def test_one_worker_pays_all_costs_in_sequence() -> None:
    all_costs = costs(driver_writes=0.3, driver_messages=0.2, scheduler_messages=0.1, worker_startup=5.0)
    assert simulate([1.0] * 10, 1, all_costs) == pytest.approx(5.0 + 10 * (1.0 + 0.3 + 0.2 + 0.1))


def test_with_many_workers_the_driver_is_the_limit() -> None:
    writes = costs(driver_writes=0.1)
    assert simulate([1.0] * 1000, 500, writes) == pytest.approx(100.0, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "durations", "name"),
    [
        ({"driver_writes": 0.1, "driver_messages": 0.01}, [1.0] * 400, "record writes"),
        ({"driver_writes": 0.01, "driver_messages": 0.1}, [1.0] * 400, "driver messages"),
        ({"scheduler_messages": 0.1}, [1.0] * 400, "scheduler messages"),
        ({"worker_startup": 60.0}, [1.0] * 400, "starting workers"),
        ({"driver_writes": 0.001}, [100.0] + [1.0] * 400, "the longest case"),
    ],
)
def test_the_bottleneck_is_named(changes: dict[str, float], durations: list[float], name: str) -> None:
    assert bottleneck(durations, 100, costs(**changes))[0] == name
