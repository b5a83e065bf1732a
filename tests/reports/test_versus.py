"""Two runs side by side: pairs, ratios, verdicts as text, and figures that hold both."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

import reports
from reports._series import groups
from reports._versus import versus_of
from results import Record, RunFile
from tests.reports import synthetic, versus
from tests.reports.test_page import HOSTILE, Outline


def test_pairs_hold_what_both_runs_have_and_name_what_one_lacks(run: RunFile, records: list[Record]) -> None:
    found = versus_of(groups(run, records), versus.baseline())
    assert len(found.pairs) == 18
    (pair,) = [p for p in found.pairs if (p.new.arch, p.new.task, p.new.length) == ("gru", "adding", 128)]
    assert (pair.base.score, pair.new.score) == pytest.approx((1.0, 0.9))
    assert pair.gain == pytest.approx(-0.1)
    assert pair.step_ratio == pytest.approx(1.0)
    assert found.unpaired[0] == "rnn on first_last at 32 (here)"
    assert len(found.unpaired) == 6


def test_a_ratio_needs_one_position(run: RunFile, records: list[Record]) -> None:
    shorter = [
        record.model_copy(
            update={
                "measurements": tuple(
                    one
                    for one in record.measurements
                    if one.metric != "step_seconds" or one.at["position"] < max(synthetic.POSITIONS)
                )
            }
        )
        for record in records
    ]
    found = versus_of(groups(run, records), versus.baseline(run=run, records=shorter))
    assert {pair.step_ratio for pair in found.pairs} == {None}


def test_effects_are_written_in_the_unit_of_their_kind(run: RunFile, records: list[Record]) -> None:
    score, step, untold = versus_of(groups(run, records), versus.baseline()).rows
    assert (score.place, score.base, score.new) == ("adding at 128", "0.900", "0.400")
    assert (score.metric, score.change) == ("score (length 128)", "-0.500 (-0.600 to -0.400)")
    assert (step.base, step.new, step.change) == ("50.0 µs", "51.0 µs", "+2.0% (-1.0% to +5.0%)")
    assert (untold.new, untold.change, untold.reason) == ("—", "—", "cpu differs")


def test_a_page_says_the_verdict_first_and_holds_both_runs(run: RunFile, records: list[Record]) -> None:
    outline = Outline(reports.page(run, records, baseline=versus.baseline()))
    verdict = outline.text.index("1 regressed, 0 improved, 1 not comparable, 1 unchanged of 3 comparisons")
    assert verdict < outline.text.index("Leaderboard")
    assert "Against 20251231-120000-quick" in outline.text
    assert "differs: cpu" in outline.text
    titles = [ElementTree.fromstring(one).findtext("{http://www.w3.org/2000/svg}title") for one in outline.images()]
    assert titles[2:4] == ["Scores of both runs", "Cost of a streamed step in both runs"]
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))


def test_without_verdicts_the_page_says_that_nothing_was_judged(run: RunFile, records: list[Record]) -> None:
    text = Outline(reports.page(run, records, baseline=versus.baseline(rows=(), verdict="", notes=()))).text
    assert "Beside 20251231-120000-quick: 18 rows in both, none of them judged." in text
    assert "Verdicts" not in text


def test_runs_that_share_nothing_make_a_page_too(run: RunFile, records: list[Record]) -> None:
    other = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch="else", task="other")
    baseline = versus.baseline(run=synthetic.run([other.case]), records=[other], rows=(), verdict="", notes=())
    text = Outline(reports.page(run, records, baseline=baseline)).text
    assert "0 rows in both" in text
    assert "else on other at 32 (in the baseline)" in text


@pytest.mark.parametrize("string", HOSTILE)
def test_a_hostile_verdict_is_shown_as_text(string: str, run: RunFile, records: list[Record]) -> None:
    def shown(name: str) -> Outline:
        row = versus.Verdict(arch=name, task=name, metric=name, verdict=name, reason=name)
        return Outline(
            reports.page(run, records[:2], baseline=versus.baseline(rows=(row,), verdict=name, notes=(name,)))
        )

    hostile, harmless = shown(string), shown("harmless")
    assert hostile.shape() == harmless.shape()
    assert hostile.text.count(string) == harmless.text.count("harmless")
