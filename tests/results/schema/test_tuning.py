"""The grid of a tuned case: its tuning cases, their seeds, and keys that do not depend on the outcome."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from results import TUNING_SEED, Case, Protocol, Tuning
from tests.results.examples import case

PLAN_SEEDS = 10_000
"""Maximum number of reported seeds of a plan."""


def tuned_case(*rates: float, seeds: int = 2, seed: int = 0) -> Case:
    """Return the example case, with its learning rate chosen from `rates`."""
    plain = case(seed=seed)
    protocol = plain.protocol.model_copy(update={"learning_rate": None})
    return Case.model_validate(
        plain.model_copy(
            update={"protocol": protocol, "tuning": Tuning(learning_rates=rates, seeds=seeds)}
        ).model_dump()
    )


def test_a_grid_has_one_tuning_case_per_rate_and_seed() -> None:
    found = tuned_case(1e-3, 1e-2, seeds=2).tuning_cases()
    assert [(each.protocol.learning_rate, each.seed) for each in found] == [
        (1e-3, TUNING_SEED),
        (1e-3, TUNING_SEED + 1),
        (1e-2, TUNING_SEED),
        (1e-2, TUNING_SEED + 1),
    ]
    assert all(not each.is_reported and each.tuning is None for each in found)
    assert len({each.key for each in found}) == 4
    assert TUNING_SEED >= PLAN_SEEDS


def test_tuning_cases_depend_neither_on_the_reported_seed_nor_on_the_rest_of_the_grid() -> None:
    small = {each.key for each in tuned_case(1e-3, 1e-2).tuning_cases()}
    assert {each.key for each in tuned_case(1e-3, 1e-2, seed=7).tuning_cases()} == small
    assert {each.key for each in tuned_case(1e-3, 1e-2, 1e-1, seeds=3).tuning_cases()} > small


def test_a_tuning_case_is_not_the_reported_case_with_its_rate() -> None:
    (tuning,) = tuned_case(3e-3, seeds=1).tuning_cases()
    reported = case(seed=TUNING_SEED)
    assert reported.protocol == tuning.protocol
    assert tuning.key != reported.key


def test_a_case_without_a_grid_has_no_tuning_cases() -> None:
    assert case().tuning_cases() == ()
    assert case().is_reported


def test_rates_are_kept_in_ascending_order() -> None:
    assert tuned_case(1e-2, 1e-3) == tuned_case(1e-3, 1e-2)


def test_cases_survive_a_round_trip() -> None:
    for each in (case(), tuned_case(1e-3, 1e-2), *tuned_case(1e-3, 1e-2).tuning_cases()):
        again = Case.model_validate_json(each.model_dump_json())
        assert (again, again.key) == (each, each.key)


@pytest.mark.parametrize("rates", [(), (0.0,), (-1e-3,), (1e-3, 1e-3), (float("nan"),), (float("inf"),)])
def test_an_invalid_grid_is_rejected(rates: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        Tuning(learning_rates=rates)


@pytest.mark.parametrize(("rate", "tuning"), [(None, None), (1e-3, Tuning(learning_rates=(1e-3,)))])
def test_a_case_has_one_source_of_its_rate(rate: float | None, tuning: Tuning | None) -> None:
    with pytest.raises(ValidationError, match="either a learning rate in its protocol or a grid"):
        Case(
            arch="lstm",
            task="adding",
            length=4,
            width=4,
            seed=0,
            protocol=Protocol(steps=1, learning_rate=rate),
            tuning=tuning,
        )
