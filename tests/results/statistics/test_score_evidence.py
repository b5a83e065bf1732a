"""Each seed is judged by its own test sequences, and the mean by its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from scipy import stats

from results import ScoreEvidence, score_evidence, score_p_value
from tests.evidence import bimodal, coverage, false_letters, false_use, found_use, normal

CHANCE = 0.078


def of(scores: Sequence[float], floor: float = CHANCE, sequences: int = 512, judged: int = 72) -> ScoreEvidence:
    solved = [score >= 0.99 for score in scores]
    return score_evidence(scores, solved, floor=floor, sequences=sequences, judged=judged)


def test_a_seed_that_solves_a_task_refutes_chance_whatever_the_mean_says() -> None:
    found = of((1.0, 0.08, 0.07))
    assert (found.using, found.solving, found.seeds) == (1, 1, 3)
    assert found.uses == found.solves == (True, False, False)
    assert found.low < CHANCE and not found.shows_past_on_average
    assert found.shows_past


def test_seeds_above_chance_by_their_own_test_sequences_use_the_past() -> None:
    found = of((0.295, 0.711, 0.260))
    assert (found.using, found.solving) == (3, 0)
    assert found.low < CHANCE  # Student's interval alone denies what every seed shows
    assert found.standing == "indistinguishable"


def test_seeds_at_chance_show_nothing() -> None:
    found = of((0.082, 0.07, 0.09))
    assert (found.using, found.shows_past, found.standing) == (0, False, "indistinguishable")


def test_the_correction_is_over_all_seeds_of_the_report() -> None:
    score = 0.5 + 0.16
    p_value = score_p_value(score, 0.5, 128)
    assert of((score,), 0.5, 128, judged=math.floor(0.05 / p_value)).using == 1
    assert of((score,), 0.5, 128, judged=math.floor(0.05 / p_value) + 1).using == 0


def test_a_significant_score_must_exceed_the_floor_by_a_twentieth_of_the_span() -> None:
    assert of((0.52,), 0.5, 100_000).using == 0
    assert of((0.53,), 0.5, 100_000).using == 1


def test_many_seeds_together_show_what_single_ones_do_not() -> None:
    found = of((0.80, 0.81, 0.80, 0.81, 0.80), 0.75)
    assert (found.using, found.shows_past_on_average, found.standing) == (0, True, "above")


@pytest.mark.parametrize(
    ("scores", "standing"),
    [
        ((0.9, 0.9, 0.9), "above"),
        ((0.757, 0.757, 0.757), "close above"),
        ((0.75, 0.75, 0.75), "indistinguishable"),
        ((0.743, 0.743, 0.743), "close below"),
        ((0.7, 0.7, 0.7), "below"),
    ],
)
def test_the_standing_follows_from_the_interval_and_a_twentieth_of_the_span(
    scores: tuple[float, ...], standing: str
) -> None:
    assert of(scores, 0.75, 100_000).standing == standing


@pytest.mark.parametrize(("floor", "sequences"), [(0.078, 512), (0.5, 64), (0.75, 512)])
def test_the_bound_is_never_below_the_binomial_tail(floor: float, sequences: int) -> None:
    for right in range(sequences + 1):
        exact = stats.binom.sf(right - 1, sequences, floor)
        assert score_p_value(right / sequences, floor, sequences) >= exact * (1 - 1e-9)


def test_a_perfect_score_has_the_probability_of_guessing_every_sequence() -> None:
    assert score_p_value(1.0, 0.5, 8) == pytest.approx(0.5**8)
    assert score_p_value(0.1, 0.0, 8) == 0.0
    assert score_p_value(0.4, 0.5, 8) == 1.0
    assert score_p_value(1.0, 1.0, 8) == 1.0


def test_as_many_statements_as_scores_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        score_evidence((0.5, 0.5), (True,), floor=0.1, sequences=8, judged=1)


def test_simulated_judgements_keep_their_promises() -> None:
    rows = [
        false_use(0.5, 64, None, 60),
        found_use((1.0, 0.234, 0.256), 0.078, 512, 100, is_promised=True),
        coverage("normal", normal(0.7), 0.7, 3, 200, is_promised=True),
        false_letters("bimodal", bimodal(0.5), 2, 3, 200, is_promised=True),
    ]
    assert [promise.title for row in rows for _, promise in row.cells if not promise.kept] == []


def test_the_simulation_finds_a_judgement_without_correction() -> None:
    """Judge every seed at 5%, as if it were the only one of its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.evidence.GROUPS", 24)
        patch.setattr("results.statistics.score_evidence.MAX_ERROR", 0.05 * 72)
        patch.setattr("results.statistics.score_evidence.CLEAR_SHARE", 0.0)
        (_, promise), _ = false_use(0.5, 64, None, 40).cells
    assert not promise.kept
