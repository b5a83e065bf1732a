"""The choice of a learning rate, and the errors of the scores that are reported at it."""

from __future__ import annotations

import pytest

from results import (
    EvalPoint,
    Record,
    choose,
    chosen_rate,
    is_at_edge,
    rate_results,
    why_no_rate,
)
from results.schema import case as schema_of_case
from tests import selection as simulation
from tests.promises import TOLERANCE
from tests.results.examples import case, record
from tests.results.schema.test_tuning import tuned_case
from tests.selection import CONDITIONS, PLANTED, Estimate, Planted, Selection, simulate

RATES = (1e-3, 1e-2, 1e-1)
Outcome = tuple[float, float | None] | str | None
"""Last score and loss of a tuning case, or its status, or None if it has no record."""
SIMULATIONS = 300
"""Number of simulated choices. The standard error of a mean score is then at most 0.0015, unless seeds are bimodal."""
PEAKED, EQUAL = PLANTED[0], PLANTED[2]
TWO_SEEDS = CONDITIONS[1]


def records(*outcomes: Outcome) -> dict[str, Record]:
    """Return records of the tuning cases of `tuned_case(*RATES)`, by rate and then by seed."""
    found = {}
    for each, outcome in zip(tuned_case(*RATES).tuning_cases(), outcomes, strict=True):
        whole = record(each, measurements=(), artifacts={})
        if outcome is None:
            continue
        if isinstance(outcome, str):
            training = whole.training if outcome == "diverged" else None
            found[each.key] = record(each, status=outcome, reason=f"it {outcome}", training=training)
            continue
        assert whole.training is not None
        better = EvalPoint(step=50, train_loss=0.0, validation_loss=0.0, validation_score=1.0)
        last = EvalPoint(step=100, train_loss=0.0, validation_loss=outcome[1], validation_score=outcome[0])
        training = whole.training.model_copy(update={"curve": (better, last)})
        found[each.key] = record(each, training=training)
    return found


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (((0.5, 1), (0.5, 1), (0.6, 1), (0.6, 1), (0.1, 1), (0.1, 1)), 1e-2),
        (((0.9, 1), (0.1, 1), (0.4, 1), (0.4, 1), (0.6, 1), (0.5, 1)), 1e-1),  # a mean, not the best seed
        (((0.5, 3), (0.5, 3), (0.5, 2), (0.5, 2), (0.5, 1), (0.5, 1)), 1e-1),  # ties: the lower loss
        (((0.5, None), (0.5, 1), (0.5, 2), (0.5, 2), (0.4, 1), (0.4, 1)), 1e-2),  # a loss that is not finite loses
        (((0.5, 1), (0.5, 1), (0.5, 1), (0.5, 1), (0.5, 1), (0.5, 1)), 1e-3),  # full ties: the lower rate
        (((0.1, 1), (0.1, 1), "diverged", (0.9, 1), "diverged", "diverged"), 1e-3),
        (("diverged", "diverged", "diverged", (0.2, 1), "diverged", (0.1, 1)), 1e-2),
        (("diverged",) * 6, 1e-3),
        (((0.9, 1), "crashed", (0.2, 1), (0.2, 1), (0.9, 1), None), 1e-2),  # complete rates first
        (((0.3, 1), "timeout", (0.4, 1), None, "crashed", "crashed"), 1e-2),  # no rate is complete
        (("crashed", "crashed", None, "timeout", "inconsistent", (0.0, 1)), 1e-1),
        (("crashed", "crashed", None, "timeout", "out_of_memory", "inconsistent"), None),
        ((None,) * 6, None),
    ],
)
def test_the_best_rate_is_chosen(outcomes: tuple[Outcome, ...], expected: float | None) -> None:
    assert chosen_rate(tuned_case(*RATES), records(*outcomes)) == expected
    assert chosen_rate(tuned_case(*RATES, seed=4), records(*outcomes)) == expected


def test_the_choice_ignores_all_other_records() -> None:
    found = records((0.5, 1), (0.5, 1), (0.6, 1), (0.6, 1), (0.1, 1), (0.1, 1))
    reported = record(tuned_case(*RATES), status="crashed")
    assert chosen_rate(tuned_case(*RATES), found | {reported.key: reported, record().key: record()}) == 1e-2


def test_results_keep_every_seed() -> None:
    found = records((0.5, 1), (0.7, 2), "diverged", (0.6, None), None, "crashed")
    first, second, third = rate_results(tuned_case(*RATES), found)
    assert (first.scores, first.losses, first.mean_score) == ((0.5, 0.7), (1, 2), 0.6)
    assert (second.scores, second.diverged, second.missing) == ((0.6,), 1, 0)
    assert (third.scores, third.mean_score, third.missing, third.is_usable) == ((), None, 2, False)
    assert rate_results(case(), found) == ()
    assert choose(()) is None


def test_only_the_ends_of_a_grid_are_at_its_edge() -> None:
    results = rate_results(tuned_case(*RATES), {})
    assert [is_at_edge(rate, results) for rate in RATES] == [True, False, True]
    assert not is_at_edge(1e-3, rate_results(tuned_case(1e-3), {}))


def test_a_case_without_a_rate_says_why_in_one_line() -> None:
    status, reason = why_no_rate(tuned_case(*RATES), records(None, "timeout", *["crashed"] * 4))
    assert status == "timeout"
    assert reason == (
        "no learning rate can be chosen, because all 6 tuning cases failed; the first, rate 0.001 and seed 1000001: "
        "it timeout"
    )
    assert why_no_rate(tuned_case(*RATES), {})[0] == "crashed"


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.title)
def test_promises_hold_in_a_short_simulation(planted: Planted) -> None:
    promises = simulate(planted, TWO_SEEDS, SIMULATIONS).promises()
    assert [promise.title for promise in promises if not promise.kept] == []


def test_scores_that_chose_a_rate_are_too_high() -> None:
    found = simulate(EQUAL, TWO_SEEDS, SIMULATIONS)
    assert _is_above_zero(found.best_validation) and _is_above_zero(found.best_test)


def test_tuning_on_reported_seeds_would_break_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_of_case, "TUNING_SEED", 0)
    assert _broken(simulate(EQUAL, TWO_SEEDS, SIMULATIONS)) == ["bias of the reported mean"]


def test_choosing_the_worst_rate_would_break_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "choose", lambda results: min(results, key=lambda result: result.mean_score))
    assert _broken(simulate(PEAKED, TWO_SEEDS, SIMULATIONS)) == ["regret"]


def test_too_few_simulations_cannot_show_a_small_bias() -> None:
    assert not simulate(EQUAL, TWO_SEEDS, 100).precision().kept


def _broken(selection: Selection) -> list[str]:
    """Return the names of the broken promises, without the conditions."""
    return [promise.title.rpartition(": ")[2] for promise in selection.promises() if not promise.kept]


def _is_above_zero(estimate: Estimate) -> bool:
    return estimate.mean > TOLERANCE * estimate.error
