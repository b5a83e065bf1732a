"""`renamed` in a plan: what is accepted, and what a run records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.plans.plan import load
from bench.runner.resume import new_run_file
from tests.bench.runs import request_for
from tests.bench.tiny import TINY, write_plan


def plan_with(folder: Path, renamed: str) -> str:
    return str(write_plan(folder, f"renamed = {renamed}\n{TINY}"))


def test_a_run_records_the_names_of_its_plan(tmp_path: Path) -> None:
    names = {"elman": "rnn", "lstm:forget=coupled": "cifg"}
    plan = load(plan_with(tmp_path, '{ elman = "rnn", "lstm:forget=coupled" = "cifg" }'))
    assert plan.renamed == names
    request = request_for(tmp_path, renamed=names)
    assert new_run_file(request).renamed == names
    assert new_run_file(request_for(tmp_path)).renamed == {}


@pytest.mark.parametrize(
    ("renamed", "expected"),
    [
        ('{ a = "b", b = "a" }', "renamed: a → b → a is a circle of new names"),
        ('{ lstm = "memory" }', "renamed: 'lstm' became 'memory', but the plan still has 'lstm'; use the new name"),
        ('{ first_last = "ends" }', "the plan still has 'first_last'"),
        ('{ a = "" }', "renamed"),
        ('["a"]', "renamed"),
    ],
)
def test_names_that_cannot_be_joined_are_refused(tmp_path: Path, renamed: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(plan_with(tmp_path, renamed))
    assert expected in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
