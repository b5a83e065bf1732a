"""The page computes no result twice. The tests count calls, because times depend on the machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import reports
from reports.analysis import groups
from reports.analysis.streaming import step_costs
from reports.html import attachment
from results import Case, Record, RunFile
from tests.reports import synthetic


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], list[object]]:
    """Return a function that starts to record the calls of another function.

    Its arguments are the owner and the name of the other function. Its result is a list. Each later call of the other
    function adds its first argument to the list.
    """

    def record_calls(owner: object, name: str) -> list[object]:
        calls: list[object] = []
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            calls.append(args[0])
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)
        return calls

    return record_calls


def test_page_computes_each_case_once(
    run: RunFile, records: list[Record], count_calls: Callable[[object, str], list[object]]
) -> None:
    keys, sorted_steps = count_calls(Case, "digest"), count_calls(groups, "_quantiles")
    costs = count_calls(step_costs, "step_costs")
    reports.page(run, records)
    assert len(keys) == len(run.cases)
    assert len(sorted_steps) == 2 * len(run.cases)  # steps in the loop, and calls from Python
    assert len(costs) == len(synthetic.ARCHS)


def test_attachment_stops_serializing_records_at_the_size_limit() -> None:
    noise = random.Random(0)
    lines = iter([noise.randbytes(attachment.MAX_BYTES // 10).hex() for _ in range(30)])
    assert attachment.pack(lines) is None
    assert len(list(lines)) > 10
