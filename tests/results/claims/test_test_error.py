"""Findings of claims hold the error of the test sets, and count the seeds for which the claim holds."""

from __future__ import annotations

import pytest

from results import interval_of_difference, interval_of_scores
from tests.results.claims.test_judge import BETTER, FIXED, case, claim, curved, judged, seeds


def test_seeds_that_agree_exactly_have_the_error_of_their_test_sets() -> None:
    (finding,) = judged(claim(), seeds("lstm", 1.0, 1.0, 1.0)).findings
    assert finding.interval == interval_of_scores([1.0] * 3, FIXED.test_sequences)
    assert finding.interval is not None and finding.interval.low < 1.0
    near = judged(claim(), seeds("lstm", 0.905, 0.905, 0.905))  # 0.9 is within the error of 3,072 sequences
    assert (near.verdict, near.settled) == ("reproduced", False)
    (single,) = judged(claim(), seeds("lstm", 0.95)).findings
    assert single.interval == interval_of_scores([0.95], FIXED.test_sequences)


def test_two_seeds_that_agree_exactly_are_not_robust_in_a_comparison() -> None:
    better = claim(**BETTER, at_least=0.0)
    two, three = (
        judged(better, [*seeds("gru", *(0.95,) * count), *seeds("lstm", *(0.9,) * count)]) for count in (2, 3)
    )
    assert (two.verdict, two.settled, three.settled) == ("reproduced", False, True)
    (finding,) = three.findings
    assert finding.interval == pytest.approx(interval_of_difference([0.95] * 3, [0.9] * 3, FIXED.test_sequences))
    close = judged(better, [*seeds("gru", 0.905, 0.905, 0.905), *seeds("lstm", 0.9, 0.9, 0.9)])
    assert not close.settled


def test_seeds_for_which_the_claim_holds_are_counted() -> None:
    (finding,) = judged(claim(), seeds("lstm", 1.0, 0.25, 0.95)).findings
    assert (finding.holds, finding.holding) == (False, 2)
    (finding,) = judged(claim(**BETTER, at_least=0.0), [*seeds("gru", 0.9, 0.8), *seeds("lstm", 0.8, 0.85)]).findings
    assert (finding.holds, finding.holding) == (True, 1)


def test_validation_scores_have_the_error_of_their_validation_set() -> None:
    few = FIXED.model_copy(update={"validation_sequences": 16})
    records = [curved(0.5).model_copy(update={"case": case(seed=seed, protocol=few)}) for seed in range(3)]
    records = [record.model_copy(update={"key": record.case.key}) for record in records]
    score = claim(quantity={"curve": "validation_score"}, at_least=0.6)
    (finding,) = judged(score, records).findings
    assert finding.interval == interval_of_scores([0.7] * 3, 16)
    loss = claim(quantity={"curve": "validation_loss"}, at_least=0.6)
    (finding,) = judged(loss, records).findings
    assert finding.interval is not None and finding.interval.low == finding.interval.high
