"""The plans of published results: listed, complete, with sources, and small enough to be tried."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cli import completion
from bench.commands.listing import list_plans
from bench.plans.grid import cases
from bench.plans.plan import load, names

PUBLISHED = [name for name in names() if name.startswith("published/")]
TIME = re.compile(r"in about [\d.]+ (minutes|hours|hour) on two cores$")


def test_published_plans_are_listed_after_the_others_and_completed() -> None:
    assert {"min-gru-probes", "negative-eigenvalues", "formal-linear", "chomsky-regular"} <= {
        Path(name).name for name in PUBLISHED
    }
    listed = [row["name"] for row in list_plans()]
    assert listed == names() and listed[-len(PUBLISHED) :] == PUBLISHED
    assert set(PUBLISHED) <= set(completion.plans("pub"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_plan_states_its_time_and_its_sources(name: str) -> None:
    plan = load(name)
    assert TIME.search(plan.summary), plan.summary
    assert plan.claims
    for claim in plan.claims:
        assert re.search(r"\d{4}|README", claim.source), claim.name
        assert claim.not_comparable or (claim.at_least, claim.at_most) != (None, None), claim.name


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_claim_of_a_published_plan_selects_cases_and_a_tested_length(name: str) -> None:
    plan = load(name)
    planned = cases(plan)
    for claim in plan.claims:
        chosen = [
            case
            for case in planned
            if claim.cases.selects(case.arch, case.task)
            and claim.cases.depth in (None, case.depth)
            and claim.cases.length in (None, case.length)
        ]
        assert chosen, claim.name
        at = claim.quantity.at
        for case in chosen:
            if "length" in at:
                assert at["length"] in case.protocol.evaluated_lengths(case.length), claim.name
            if "from" in at:
                assert (at["from"], at["to"]) in case.protocol.evaluated_ranges(), claim.name
        assert len({(case.arch, case.task, case.depth) for case in chosen}) == 1, claim.name
