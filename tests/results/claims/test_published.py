"""Claims with a published value: bounds from the tolerance, overlapping intervals, and the size of the cases."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from reports.text.claims import ledger, summary
from results import Claim
from tests.results.claims.test_judge import case, claim, judged, scored, seeds
from tests.results.examples import run_file


def published(**changes: object) -> Claim:
    fields = {
        "name": "claim",
        "text": "it works",
        "source": "a paper",
        "what": "accuracy",
        "quantity": {"metric": "accuracy"},
        "published": 0.9,
        "tolerance": 0.02,
    }
    return Claim.model_validate_json(json.dumps(fields | changes))


def test_the_bounds_are_the_published_value_and_its_tolerance() -> None:
    of = published()
    assert (of.at_least, of.at_most) == (pytest.approx(0.88), pytest.approx(0.92))
    assert of.rule == "0.9 ± 0.02, as published"
    assert Claim.model_validate_json(of.model_dump_json()) == of
    verdicts = [judged(of, seeds("rnn", x, x)).verdict for x in (0.87, 0.88, 0.92, 0.93)]
    assert verdicts == ["not reproduced", "reproduced", "reproduced", "not reproduced"]


def test_an_interval_that_overlaps_the_published_one_reproduces_it() -> None:
    records = seeds("rnn", 0.93, 0.95, 0.97)  # 0.95 with the interval 0.90 to 1.00
    assert judged(published(), records).verdict == "not reproduced"
    assert judged(published(spread=0.01), records).verdict == "reproduced"
    assert judged(published(spread=0.01), seeds("rnn", 0.95)).verdict == "not reproduced"  # no interval


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tolerance": None}, "at_most or both, published with a tolerance, or not_comparable"),
        ({"published": None, "at_least": 0.5}, "spread and tolerance belong to a published value"),
        ({"tolerance": -0.1}, "greater than or equal to 0"),
        ({"not_comparable": "another data set"}, "not_comparable excludes at_least, at_most and tolerance"),
    ],
)
def test_an_incomplete_published_value_is_refused(changes: dict[str, float | str | None], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        published(**changes)


def test_a_claim_may_select_the_depth_and_the_length() -> None:
    shallow, deep = case(), case().model_copy(update={"depth": 4})
    records = [scored(shallow, 0.5), scored(deep, 0.95)]
    assert judged(claim(), records).verdict == "depends on"
    assert judged(claim(cases={"depth": 4}), records).verdict == "reproduced"
    assert judged(claim(cases={"depth": shallow.depth}), records).verdict == "not reproduced"
    assert judged(claim(cases={"length": 33}), records).verdict == "not measured"


def test_the_ledger_names_the_published_value_and_the_difference_of_protocol() -> None:
    of = published(spread=0.01, differs="one seed")
    records = seeds("rnn", 0.9, 0.9)
    (row,) = ledger(run_file("a", *(record.case for record in records), claims=(of,)), records)
    assert (row.source, row.published) == ("a paper", "0.900 ± 0.01")
    assert row.remarks == ("Our protocol differs: one seed.",)


def test_values_that_are_not_comparable_stand_side_by_side_without_a_verdict() -> None:
    of = published(tolerance=None, not_comparable="the source trains for epochs", tried="twice the steps gave 0.43")
    assert Claim.model_validate_json(of.model_dump_json()) == of
    records = seeds("rnn", 0.4, 0.4, 0.4)
    assert judged(of, records).verdict == "not comparable"
    assert judged(of, []).verdict == "not measured"
    rows = ledger(run_file("a", *(record.case for record in records), claims=(of,)), records)
    assert rows[0].remarks == ("Not comparable: the source trains for epochs.", "Tried: twice the steps gave 0.43.")
    assert (rows[0].published, rows[0].rule, rows[0].doubt) == ("0.900", "", "")
    assert rows[0].findings[0].value.startswith("0.400 (")
    assert summary(rows) == "1 claim: 1 not comparable."


def test_the_share_of_seeds_that_solve_a_task_has_the_interval_of_a_share() -> None:
    share = published(published=1.0, tolerance=0.03, quantity={"training": "solved"})
    effort, other = "sequences_until_solved", "accuracy"
    solved = [scored(case("lstm", seed), 6400.0, metric=effort) for seed in range(4)]
    entry = judged(share, solved)
    (finding,) = entry.findings
    assert (entry.verdict, entry.settled, finding.values) == ("reproduced", False, (1.0,) * 4)
    assert finding.interval is not None
    assert finding.interval.low == pytest.approx(0.5101, abs=1e-4)  # Wilson's interval of 4 in 4
    diverged = scored(case("lstm", 5), 0.5, metric=other).model_copy(update={"status": "diverged"})
    entry = judged(share, [*solved, scored(case("lstm", 4), 0.5, metric=other), diverged])
    (finding,) = entry.findings
    assert (entry.verdict, finding.values) == ("not reproduced", (1.0,) * 4 + (0.0, 0.0))
    failed = diverged.model_copy(update={"status": "crashed", "training": None})
    assert judged(share, [*solved, failed]).findings[0].values == (1.0,) * 4
    assert share.range == (0.0, 1.0)
    with pytest.raises(ValidationError, match="exactly one of metric, curve, training and model; given: metric='acc"):
        published(quantity={"metric": "accuracy", "training": "solved"})


def test_bounds_that_contradict_the_tolerance_are_refused() -> None:
    assert published(at_least=0.88, at_most=0.92) == published()
    with pytest.raises(ValidationError, match="a tolerance gives both bounds; omit at_least and at_most"):
        published(at_least=0.5)
    assert published(tolerance=None, at_most=0.95).rule == "at most 0.95"


def test_numbers_of_sequences_are_whole_and_not_negative() -> None:
    of = published(published=74_000.0, tolerance=None, at_most=740_000.0, quantity={"metric": "sequences_until_solved"})
    records = [
        scored(case("lstm", seed), sequences, metric="sequences_until_solved")
        for seed, sequences in enumerate((1_000.0, 9_000.0))
    ]
    (row,) = ledger(run_file("a", *(record.case for record in records), claims=(of,)), records)
    assert (row.published, row.rule) == ("74,000", "at most 740,000")
    assert row.findings[0].value == "5,000 (0 to 55,800), 2 seeds"
