"""What a page of thousands of records works out once: counted, since a clock would tell of the machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

import reports
from reports.analysis import groups, step_costs
from reports.html import attachment
from results import Case, Record, RunFile
from tests.reports import synthetic


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], list[object]]:
    """Notes the first argument of each call of a function from now on."""

    def counted(where: object, name: str) -> list[object]:
        calls: list[object] = []
        true = getattr(where, name)

        def noted(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments[0])
            return true(*arguments, **options)

        monkeypatch.setattr(where, name, noted)
        return calls

    return counted


def test_a_page_asks_every_case_once(
    run: RunFile, records: list[Record], count: Callable[[object, str], list[object]]
) -> None:
    keys, sorted_steps = count(Case, "digest"), count(groups, "_quantiles")
    costs = count(step_costs, "step_costs")
    reports.page(run, records)
    assert len(keys) == len(run.cases)
    assert len(sorted_steps) == len(run.cases)
    assert len(costs) == len(synthetic.ARCHS)


def test_records_that_are_too_many_to_attach_are_not_written_to_the_last() -> None:
    noise = random.Random(0)
    lines = iter([noise.randbytes(attachment.MAX_BYTES // 10).hex() for _ in range(30)])
    assert attachment._packed(lines) is None
    assert len(list(lines)) > 10
