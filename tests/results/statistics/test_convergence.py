"""Convergence of planted curves, of the curves of real cases, and of curves in special situations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from results import (
    LOSS_GAIN,
    SCORE_GAIN,
    EvalPoint,
    Progress,
    Training,
    classify,
    convergence,
    last_improvement,
)
from tests import convergence as simulation
from tests.convergence import CONDITIONS, PLANTED, Conditions, simulate
from tests.results.examples import record

SOLVED_AT = 0.99
CURVES = 60
"""Number of curves per promise. The standard error of a share of 5% is then 2.8%."""

REAL = {
    "lstm on adding": (
        "0.062 0.047 0.031 0.094 0.039 0.078 0.062 0.031 0.062 0.086 0.109 0.102 0.133 0.141",
        "0.1756 0.1842 0.1796 0.1751 0.1778 0.1739 0.1702 0.1600 0.1638 0.1991 0.0882 0.0618 0.0508 0.0493",
        "still learning",
    ),
    "lstm on copy_memory": (
        "0.213 0.251 0.289 0.309 0.330 0.371 0.391 0.406 0.424 0.430 0.431 0.446 0.452 0.453",
        "1.9949 1.9108 1.8317 1.7352 1.6344 1.5431 1.4697 1.4009 1.3551 1.3158 1.2903 1.2809 1.2714 1.2701",
        "still learning",
    ),
    "rnn on adding": (
        "0.062 0.070 0.086 0.047 0.055 0.047 0.062 0.047 0.047 0.086 0.062 0.070 0.039 0.039",
        "0.1806 0.1846 0.1769 0.1770 0.1782 0.1841 0.1804 0.1881 0.1773 0.1760 0.1761 0.1756 0.1762 0.1761",
        "plateaued",
    ),
    "rnn on adding, another seed": (
        "0.102 0.109 0.070 0.039 0.047 0.102 0.102 0.102 0.117 0.086 0.102 0.047 0.117 0.102",
        "0.1729 0.1657 0.2091 0.1920 0.1848 0.1703 0.1747 0.1660 0.1655 0.1677 0.1656 0.1714 0.1656 0.1656",
        "plateaued",
    ),
    "rnn on copy_memory": (
        "0.139 0.117 0.133 0.130 0.122 0.113 0.133 0.122 0.122 0.130 0.116 0.134 0.133 0.127",
        "2.0871 2.0822 2.0887 2.0844 2.0839 2.0846 2.0798 2.0821 2.0812 2.0790 2.0808 2.0790 2.0788 2.0788",
        "plateaued",
    ),
    "gru on first_last": (
        "0.789 0.805 0.797 0.797 0.781 0.789 0.773 0.781 0.789 0.797 0.789 0.797 0.797 0.797",
        "0.4640 0.4332 0.4516 0.4573 0.4631 0.4591 0.4624 0.4570 0.4516 0.4403 0.4536 0.4478 0.4472 0.4478",
        "plateaued",
    ),
}
"""Validation scores and losses every 50 of 700 steps at length 32 (plan `quick`, learning rate 5e-3, one seed each).

With 2,100 steps, the test scores of the first two cases rose from 0.11 and 0.46 to 0.99 and 0.86. Those of the others
were 0.07, 0.05, 0.12 and 0.75, and became 0.06, 0.08, 0.12 and 0.76.
"""


def training(scores: Sequence[float], losses: Sequence[float | None] | None = None, **changes: Any) -> Training:
    losses = [1.0] * len(scores) if losses is None else losses
    points = tuple(
        EvalPoint(step=50 * (index + 1), train_loss=None, validation_loss=loss, validation_score=score)
        for index, (score, loss) in enumerate(zip(scores, losses, strict=True))
    )
    plain = Training(
        steps=50 * len(scores),
        sequences=1,
        seconds=1.0,
        stopped="budget",
        threads=1,
        flushes_denormals=True,
        curve=points,
    )
    return plain.model_copy(update=changes)


def kind(scores: Sequence[float], losses: Sequence[float | None] | None = None, **changes: Any) -> str:
    return classify(training(scores, losses, **changes), solved_at=SOLVED_AT, validation_sequences=128)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split()]


@pytest.mark.parametrize("name", REAL)
def test_cases_that_improved_with_three_times_the_budget_were_still_learning(name: str) -> None:
    scores, losses, expected = REAL[name]
    assert kind(_numbers(scores), _numbers(losses)) == expected


@pytest.mark.parametrize("conditions", [CONDITIONS[2], CONDITIONS[5]], ids=lambda conditions: conditions.title)
def test_promises_hold_in_a_short_simulation(conditions: Conditions) -> None:
    promises = [simulate(planted, conditions, CURVES) for planted in PLANTED]
    assert [promise.title for promise in promises if not promise.kept] == []
    assert sum((promise.low, promise.high) != (0.0, 1.0) for promise in promises) >= 9


def test_few_noisy_evaluations_break_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MIN_PROMISED", 8)
    slow = next(planted for planted in PLANTED if "3 time constants" in planted.title and "0.3" not in planted.title)
    assert not simulate(slow, Conditions(evaluations=8), CURVES).kept


@pytest.mark.parametrize("reason", ["solved", "diverged", "plateaued"])
def test_the_reason_for_an_early_end_decides(reason: str) -> None:
    assert kind([0.1, 0.5, 0.9], stopped=reason) == reason


def test_a_case_that_solves_its_task_at_the_end_is_solved() -> None:
    assert kind([0.1, 0.5, 0.995]) == "solved"
    assert kind([0.1, 0.995, 0.5, 0.6, 0.7, 0.8, 0.9]) == "plateaued"


def test_curve_that_rose_until_the_learning_rate_vanished_is_still_learning() -> None:
    flat_at_the_end = [0.1, 0.16, 0.22, 0.28, 0.33, 0.38, 0.42, 0.45, 0.47, 0.48, 0.48, 0.48]
    assert kind(flat_at_the_end) == "still learning"


def test_improved_loss_counts_without_an_improved_score() -> None:
    losses = [0.17, 0.17, 0.17, 0.17, 0.16, 0.14, 0.12, 0.1]
    assert kind([0.05] * 8, losses) == "still learning"
    assert kind([0.05] * 8, [0.17] * 8) == "plateaued"


def test_score_can_improve_while_the_loss_rises() -> None:
    assert (
        kind([0.5, 0.5, 0.5, 0.5, 0.56, 0.6, 0.64, 0.66], [1.0, 1.0, 1.0, 1.0, 1.2, 1.4, 1.5, 1.6]) == "still learning"
    )


def test_smallest_improvement_that_counts() -> None:
    for gain, expected in ((0.9, "plateaued"), (1.1, "still learning")):
        assert kind([0.5] * 6 + [0.5 + gain * SCORE_GAIN] * 6) == expected
        assert kind([0.5] * 12, [2.0] * 6 + [2.0 * (1 - gain * LOSS_GAIN)] * 6) == expected


def test_return_to_an_earlier_best_is_no_improvement() -> None:
    assert kind([0.8, 0.8, 0.4, 0.3, 0.4, 0.6, 0.7, 0.79]) == "plateaued"


def test_losses_that_are_not_finite_leave_the_decision_to_the_score() -> None:
    assert kind([0.5] * 6, [1.0, None, 1.0, 0.5, 0.4, 0.3]) == "plateaued"
    assert kind([0.5, 0.5, 0.5, 0.6, 0.7, 0.8], [None] * 6) == "still learning"


def test_a_single_evaluation_cannot_show_a_plateau() -> None:
    assert kind([0.5]) == "still learning"
    assert kind([0.5, 0.5]) == "plateaued"


def test_convergence_of_a_record() -> None:
    assert convergence(record(training=None)) is None
    assert convergence(record(training=training([]))) is None
    assert convergence(record(training=training([], stopped="diverged"))) == "diverged"
    solved = training([0.5, 0.75, 0.996])
    assert convergence(record(training=solved)) == "solved"
    assert convergence(record(training=solved, reference_scores=())) == "still learning"


def test_last_improvement_is_the_last_step_that_beats_the_best_by_enough() -> None:
    assert last_improvement(training([])) == 0
    assert last_improvement(training([0.5] * 6)) == 50
    assert last_improvement(training([0.5, 0.6, 0.61, 0.4, 0.61])) == 100
    assert last_improvement(training([0.5] * 4, [1.0, 0.995, 0.98, 0.975])) == 150


def test_slow_progress_adds_up_to_an_improvement() -> None:
    progress = Progress()
    points = training([0.5, 0.511, 0.519, 0.5301, 0.531]).curve
    assert [progress.improves(point) for point in points] == [True, False, False, True, False]
