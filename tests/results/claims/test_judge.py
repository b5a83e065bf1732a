"""Test the verdicts on claims for records with known numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from results import (
    Case,
    Claim,
    Entry,
    EvalPoint,
    Measurement,
    Protocol,
    Quantity,
    Record,
    epoch_of,
    judge,
)
from tests.results import examples

ROUNDING = 1e-12
"""Rounding error of sums of a few doubles."""
FIXED = Protocol(train_sequences=100, epochs=8, batch=50)


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "name": "claim",
        "text": "it works",
        "source": "a paper",
        "what": "accuracy",
        "quantity": {"metric": "accuracy"},
        "at_least": 0.9,
    }
    return Claim.model_validate_json(json.dumps(fields | changes))


def case(arch: str = "lstm", seed: int = 0, task: str = "first_last", protocol: Protocol = FIXED) -> Case:
    return examples.case(arch, seed=seed).model_copy(update={"task": task, "protocol": protocol})


def scored(of: Case, *scores: float, metric: str = "accuracy", **at: int) -> Record:
    """Return a record whose training had stopped improving."""
    record = examples.record(of, measurements=tuple(Measurement(metric=metric, at=at, samples=(x,)) for x in scores))
    assert record.training is not None
    return record.model_copy(update={"training": record.training.model_copy(update={"stopped": "plateaued"})})


def judged(of: Claim, records: Sequence[Record], planned: Sequence[Case] = ()) -> Entry:
    """Judge one claim by its records. `planned` contains additional cases without records."""
    (entry,) = judge([of], [*(record.case for record in records), *planned], records)
    return entry


def seeds(arch: str, *scores: float, **changes: Any) -> list[Record]:
    """Return one record per score, with seeds from 0."""
    return [scored(case(arch, seed, **changes), score) for seed, score in enumerate(scores)]


def test_a_range_of_lengths_counts_only_if_the_claim_names_it() -> None:
    measured = [({"length": 32}, 0.95), ({"length": 64}, 0.93), ({"from": 40, "to": 256}, 0.1)]
    records = [
        examples.record(
            case("lstm", seed),
            measurements=tuple(Measurement(metric="accuracy", at=at, samples=(score,)) for at, score in measured),
        )
        for seed in range(2)
    ]
    (mean,) = judged(claim(), records).findings
    (over_range,) = judged(claim(quantity={"metric": "accuracy", "at": {"from": 40, "to": 256}}), records).findings
    assert mean.values == (pytest.approx(0.94, abs=ROUNDING),) * 2
    assert over_range.values == (0.1, 0.1)


def test_the_mean_over_seeds_decides_the_verdict() -> None:
    entry = judged(claim(), seeds("lstm", 0.85, 0.95, 0.93))
    assert (entry.verdict, entry.depends_on, entry.settled) == ("reproduced", "", False)
    (finding,) = entry.findings
    assert finding.values == (0.85, 0.95, 0.93)
    assert finding.interval is not None
    assert finding.interval.middle == pytest.approx(0.91, abs=ROUNDING)
    entry = judged(claim(), seeds("lstm", 0.80, 0.81, 0.82))
    assert (entry.verdict, entry.settled) == ("not reproduced", True)


def test_a_value_must_be_within_both_bounds() -> None:
    between = claim(at_least=0.6, at_most=0.7)
    assert [judged(between, seeds("rnn", x, x)).verdict for x in (0.59, 0.6, 0.7, 0.71)] == [
        "not reproduced",
        "reproduced",
        "reproduced",
        "not reproduced",
    ]


def test_rounding_does_not_change_the_verdict() -> None:
    assert 0.813 - 0.808 < 0.005
    assert claim(at_least=0.005).holds(0.813 - 0.808) and claim(at_least=None, at_most=0.3).holds(0.1 + 0.2)
    assert not claim(at_least=0.005).holds(0.004999)


def test_a_verdict_is_not_settled_if_the_interval_contains_a_bound() -> None:
    between = claim(at_least=0.6, at_most=0.7)
    for scores, is_settled in (((0.1, 0.9), False), ((0.5,), False), ((0.65, 0.65), False), ((0.65,) * 3, True)):
        assert judged(between, seeds("rnn", *scores)).settled is is_settled
    assert judged(claim(quantity={"model": "parameters"}), seeds("rnn", 0.5)).settled
    assert claim(quantity={"metric": "state_bytes"}).exact and not claim(quantity={"metric": "accuracy"}).exact


def test_a_single_seed_is_robust_if_the_widest_interval_of_other_conditions_excludes_the_bound() -> None:
    """Check that a single seed is robust if its distance from the bound 0.9 is more than 0.043.

    Three seeds have a standard deviation of 0.01. With t = 4.303 (two degrees of freedom), the interval of a single
    seed is ±0.043.
    """
    three = seeds("lstm", 0.94, 0.95, 0.96)
    for score, robust in ((0.94, False), (0.944, True), (0.86, False), (0.856, True)):
        entry = judged(claim(), [*three, *seeds("gru", score)])
        assert [entry.robust(finding) for finding in entry.findings] == [True, robust]
    widest = [*three, *seeds("rnn", 0.1, 0.5, 0.3), *seeds("gru", 0.856)]
    assert not judged(claim(), widest).settled
    fewer = [*three, *seeds("rnn", 0.1, 0.5), *seeds("gru", 0.856)]
    assert judged(claim(), fewer).robust(judged(claim(), fewer).findings[-1])


def test_the_range_depends_on_the_unit() -> None:
    assert claim().range == (0, 1) == claim(quantity={"curve": "fit_score"}).range
    assert claim(quantity={"metric": "memory_trace"}).range == (-math.inf, 1)
    assert claim(quantity={"curve": "loss_gap"}).range == (-math.inf, math.inf)
    assert claim(against={"cases": {"arch": ["lstm"]}}).range == (-math.inf, math.inf)


def test_the_deciding_factor_is_reported() -> None:
    records = [
        *seeds("lstm", 0.5, 0.6),
        *seeds("lstm:forget_bias=1.0", 0.5, 0.6),
        *seeds("lstm:forget_bias=1.0,init=orthogonal", 0.95, 0.99),
        *seeds("lstm:init=orthogonal", 0.95, 0.99),
    ]
    entry = judged(claim(), records)
    assert entry.verdict == "depends on"
    assert entry.depends_on == "init (holds with orthogonal; not with its default)"
    assert [finding.holds for finding in entry.findings] == [False, False, True, True]


def test_two_factors_that_decide_together_are_reported_together() -> None:
    records = [
        *seeds("lstm", 0.5),
        *seeds("lstm:init=orthogonal", 0.95),
        *seeds("lstm", 0.95, task="first_last:rule=product"),
        *seeds("lstm:init=orthogonal", 0.5, task="first_last:rule=product"),
    ]
    assert judged(claim(), records).depends_on == (
        "init and rule together (holds only with init=orthogonal and rule at its default; "
        "or init at its default and rule=product)"
    )


def test_alternative_explanations_are_all_reported() -> None:
    records = [*seeds("lstm", 0.5), *seeds("gru:init=orthogonal", 0.95)]
    assert judged(claim(), records).depends_on == (
        "architecture (holds with gru; not with lstm) or init (holds with orthogonal; not with its default)"
    )


def test_planned_cases_without_records_are_not_measured() -> None:
    entry = judged(claim(), [], planned=[case(seed=0), case(seed=1)])
    assert entry.verdict == "not measured"
    assert [(finding.seeds, finding.values) for finding in entry.findings] == [(2, ())]
    assert judged(claim(cases={"arch": ["gru*"]}), seeds("lstm", 0.5)).findings == ()
    assert judged(claim(), seeds("lstm", 0.95), planned=[case(seed=7)]).findings[0].seeds == 2


def test_a_diverged_case_has_no_value() -> None:
    broken = scored(case(), 0.95).model_copy(update={"status": "diverged"})
    assert judged(claim(), [broken]).verdict == "not measured"


def test_patterns_include_and_exclude_cases() -> None:
    records = [*seeds("lstm", 0.95), *seeds("lstm:dropout=0.3", 0.5), *seeds("gru", 0.4)]
    assert judged(claim(cases={"arch": ["lstm*", "!*dropout*"]}), records).verdict == "reproduced"
    decayed = FIXED.model_copy(update={"weight_decay": 0.1})
    records = [*seeds("lstm", 0.95), *seeds("lstm", 0.5, protocol=decayed)]
    assert judged(claim(cases={"protocol": {"weight_decay": 0.0}}), records).verdict == "reproduced"
    assert judged(claim(cases={"protocol": {"weight_decay": 0.1}}), records).verdict == "not reproduced"


def test_architectures_are_compared_per_seed_on_the_same_task() -> None:
    records = [
        *seeds("gru", 0.90, 0.80),
        *seeds("lstm", 0.80, 0.85),
        *seeds("lstm", 0.10, task="first_last:rule=product"),
    ]
    against = claim(cases={"arch": ["gru"]}, against={"cases": {"arch": ["lstm"]}}, at_least=0.0)
    (finding,) = judged(against, records).findings
    assert finding.values == pytest.approx((0.10, -0.05), abs=ROUNDING)
    assert (finding.arch, finding.against) == ("gru", "lstm")
    share = claim(cases={"arch": ["gru"]}, against={"cases": {"arch": ["lstm"]}, "by": "ratio"}, at_least=1.0)
    assert judged(share, records).findings[0].values == pytest.approx((0.9 / 0.8, 0.8 / 0.85), abs=ROUNDING)


def learning(records: Sequence[Record]) -> list[Record]:
    """Return the records with validation scores that rise up to the end of training."""
    made = []
    for record in records:
        assert record.training is not None
        points = tuple(
            EvalPoint(step=step, train_loss=None, validation_loss=1.0, validation_score=0.1 * step)
            for step in range(1, 8)
        )
        training = record.training.model_copy(update={"curve": points, "stopped": "budget"})
        made.append(record.model_copy(update={"training": training}))
    return made


BETTER: dict[str, Any] = {"cases": {"arch": ["gru"]}, "against": {"cases": {"arch": ["lstm"]}}}


@pytest.mark.parametrize(
    ("bounds", "gru", "lstm", "verdict", "who"),
    [
        # The claim puts the LSTM below the GRU.
        (
            {"at_least": 0.0},
            seeds("gru", 0.9, 0.9),
            learning(seeds("lstm", 0.5, 0.5)),
            "undecided",
            "lstm in 2 of 2 seeds",
        ),
        ({"at_least": 0.0}, seeds("gru", 0.9, 0.9), seeds("lstm", 0.5, 0.5), "reproduced", ""),
        # More training of the better one only supports the claim.
        ({"at_least": 0.0}, learning(seeds("gru", 0.9, 0.9)), seeds("lstm", 0.5, 0.5), "reproduced", ""),
        # The one that the finding puts below may still become better.
        (
            {"at_least": 0.0},
            learning(seeds("gru", 0.4, 0.4)),
            seeds("lstm", 0.5, 0.5),
            "undecided",
            "gru in 2 of 2 seeds",
        ),
        ({"at_least": 0.0}, seeds("gru", 0.4, 0.4), learning(seeds("lstm", 0.5, 0.5)), "not reproduced", ""),
        # A perfect LSTM would be only 0.1 better.
        ({"at_least": -0.2}, seeds("gru", 0.9, 0.9), learning(seeds("lstm", 0.5, 0.5)), "reproduced", ""),
        # A single seed that was still learning may suffice.
        (
            {"at_least": 0.3},
            seeds("gru", 0.9, 0.9),
            [*learning(seeds("lstm", 0.5)), *seeds("lstm", 0.5, 0.5)[1:]],
            "undecided",
            "lstm in 1 of 2 seeds",
        ),
    ],
)
def test_a_claim_is_undecided_if_more_training_could_change_the_comparison(
    bounds: dict[str, float], gru: list[Record], lstm: list[Record], verdict: str, who: str
) -> None:
    entry = judged(claim(**BETTER, **bounds), [*gru, *lstm])
    assert (entry.verdict, entry.findings[0].learning) == (verdict, who)


@pytest.mark.parametrize(
    ("changes", "score", "verdict"),
    [
        ({"at_least": None, "at_most": 0.6}, 0.5, "undecided"),  # it does not learn
        ({"at_least": None, "at_most": 0.6}, 0.7, "not reproduced"),
        ({"at_least": 0.9}, 0.95, "reproduced"),  # it solves the task
        ({"at_least": 0.9}, 0.5, "undecided"),
        ({"at_least": 0.6, "at_most": 0.7}, 0.5, "undecided"),
        ({"at_least": 0.6, "at_most": 0.7}, 0.8, "not reproduced"),
        ({"quantity": {"metric": "mse"}, "at_least": 0.1}, 0.2, "undecided"),
        ({"quantity": {"metric": "mse"}, "at_least": None, "at_most": 0.1}, 0.05, "reproduced"),
        ({"quantity": {"metric": "state_bytes"}, "at_least": None, "at_most": 0.6}, 0.5, "reproduced"),
        ({"quantity": {"metric": "step_seconds"}, "at_least": 0.6}, 0.5, "not reproduced"),
    ],
)
def test_a_claim_about_one_architecture_is_undecided_if_more_training_could_change_it(
    changes: dict[str, Any], score: float, verdict: str
) -> None:
    metric = changes.get("quantity", {}).get("metric", "accuracy")
    records = learning([scored(case("lstm", seed), score, metric=metric) for seed in range(2)])
    assert judged(claim(**changes), records).verdict == verdict


def test_the_first_epochs_of_a_curve_do_not_depend_on_more_training() -> None:
    quantity = {"curve": "validation_score", "reduce": "highest"}
    records = learning(seeds("lstm", 0.5))
    assert judged(claim(quantity=quantity), records).verdict == "undecided"
    assert judged(claim(quantity=quantity | {"until_epoch": 2}), records).verdict == "not reproduced"


def test_an_undecided_condition_leaves_the_verdict_to_the_others_if_they_differ() -> None:
    weak = learning(seeds("rnn", 0.5))
    assert judged(claim(), [*weak, *seeds("gru", 0.95)]).verdict == "undecided"
    assert judged(claim(), [*weak, *seeds("lstm", 0.4)]).verdict == "undecided"
    entry = judged(claim(), [*weak, *seeds("gru", 0.95), *seeds("lstm", 0.4)])
    assert (entry.verdict, entry.depends_on) == ("depends on", "architecture (holds with gru; not with lstm)")


def test_a_factor_that_both_sides_share_is_reported_once() -> None:
    records = [
        record
        for task, score in (("first_last", 0.9), ("first_last:rule=product", 0.5))
        for record in (*seeds("gru", score, task=task), *seeds("lstm", 0.8, task=task))
    ]
    against = claim(cases={"arch": ["gru"]}, against={"cases": {"arch": ["lstm"]}}, at_least=0.0)
    assert judged(against, records).depends_on == "rule (holds with its default; not with product)"


def test_two_locations_of_one_case_are_compared() -> None:
    record = examples.record(
        case(),
        measurements=tuple(
            Measurement(metric="step_seconds", at={"position": position}, samples=samples)
            for position, samples in ((1, (1.0, 2.0, 90.0)), (64, (5.0, 6.0, 7.0)))
        ),
    )
    grows = claim(
        quantity={"metric": "step_seconds", "at": {"position": 64}},
        against={"quantity": {"metric": "step_seconds", "at": {"position": 1}}, "by": "ratio"},
        at_least=2.9,
    )
    assert judged(grows, [record]).findings[0].values == pytest.approx((3.0,), abs=ROUNDING)


def curved(*fits: float) -> Record:
    """Return a record with one evaluation per fit score, every two steps."""
    points = tuple(
        EvalPoint(
            step=2 * (number + 1),
            train_loss=None,
            validation_loss=0.5,
            validation_score=0.7,
            fit_loss=0.5 - 0.1 * number,
            fit_score=fit,
        )
        for number, fit in enumerate(fits)
    )
    record = examples.record(case())
    assert record.training is not None
    return record.model_copy(update={"training": record.training.model_copy(update={"curve": points})})


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ({"curve": "fit_score"}, 0.8),
        ({"curve": "fit_score", "reduce": "highest"}, 1.0),
        ({"curve": "fit_score", "reduce": "highest", "until_epoch": 2}, 0.9),
        ({"curve": "fit_score", "reduce": "lowest", "from_epoch": 2}, 0.8),
        ({"curve": "loss_gap"}, 0.3),
        ({"curve": "score_gap", "until_epoch": 1}, -0.1),
        ({"model": "parameters"}, 3538.0),
    ],
)
def test_curves_are_reduced_by_epoch(quantity: dict[str, Any], value: float) -> None:
    """Check each quantity on a curve with an evaluation per epoch. An epoch has two steps: 100 sequences, batch 50."""
    entry = judged(claim(quantity=quantity, at_least=-9.0), [curved(0.6, 0.9, 1.0, 0.8)])
    assert entry.findings[0].values == pytest.approx((value,), abs=ROUNDING)


def test_a_curve_without_evaluations_in_range_is_not_measured() -> None:
    assert judged(claim(quantity={"curve": "fit_score", "from_epoch": 5}), [curved(0.6)]).verdict == "not measured"


def test_an_epoch_includes_its_incomplete_last_batch() -> None:
    assert epoch_of(79 * 30, Protocol(train_sequences=5000, epochs=100, batch=64)) == 30
    assert epoch_of(7, Protocol(steps=9)) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"at_least": None}, "at_least, at_most or both"),
        ({"quantity": {"metric": "acuracy"}}, "unknown metric 'acuracy'"),
        ({"quantity": {}}, "one of metric, curve, training and model"),
        ({"quantity": {"metric": "accuracy", "model": "parameters"}}, "one of metric, curve, training and model"),
        ({"against": {}}, "give cases, quantity or both"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_an_invalid_claim_is_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        claim(**changes)


def test_rules_are_written_as_text() -> None:
    assert claim().rule == "at least 0.9"
    assert claim(at_least=None, at_most=0.5).rule == "at most 0.5"
    assert claim(at_least=0.6, at_most=0.7).rule == "between 0.6 and 0.7"
    assert claim(at_least=197378.0, at_most=197378.0).rule == "exactly 197,378"
    assert Quantity(model="parameters").reduce == "last"
