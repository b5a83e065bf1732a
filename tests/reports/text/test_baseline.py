"""The comparison with a baseline has the right pairs, ratios and verdicts, and appears on the page."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.text.baseline import compare_with_baseline
from reports.text.comparison import headline
from results import Record, RunFile
from results.comparison.compare import compare
from tests.reports import second_run, synthetic
from tests.reports.html.test_render import TWINS, Outline


def test_shared_rows_are_paired_and_other_rows_are_listed(run: RunFile, records: list[Record]) -> None:
    comparison = compare_with_baseline(run, records, group_cases(run, records), second_run.baseline())
    assert len(comparison.pairs) == 18
    (pair,) = [p for p in comparison.pairs if (p.new.arch, p.new.task, p.new.length) == ("gru", "adding", 128)]
    assert (pair.base.score, pair.new.score) == pytest.approx((1.0, 0.9))
    assert pair.gain == pytest.approx(-0.1)
    assert pair.step_ratio == pytest.approx(1.0)
    assert comparison.unpaired[0] == "rnn on first_last at 32 (in this run)"
    assert len(comparison.unpaired) == 6


def test_step_ratio_requires_equal_positions(run: RunFile, records: list[Record]) -> None:
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
    comparison = compare_with_baseline(
        run, records, group_cases(run, records), reports.Baseline(run=run, records=shorter)
    )
    assert {pair.step_ratio for pair in comparison.pairs} == {None}


def test_every_row_of_the_comparison_is_formatted(run: RunFile, records: list[Record]) -> None:
    base = second_run.baseline()
    comparison = compare((base.run, base.records), (run, records))
    written = compare_with_baseline(run, records, group_cases(run, records), base)
    assert len(written.rows) == len(comparison.rows) > 100
    (row,) = [r for r in written.rows if r.case == "gru on adding 128" and r.metric == "score, length 128"]
    assert (row.base, row.new, row.effect) == ("1.000", "0.900", pytest.approx(-0.1))
    assert row.verdict == "inconclusive"
    assert row.change.startswith("-0.100 (")
    assert written.status == "warn"


@pytest.mark.slow
def test_page_shows_the_verdict_first_and_both_runs(run: RunFile, records: list[Record]) -> None:
    outline = Outline(reports.page(run, records, baseline=second_run.baseline()))
    base = second_run.baseline()
    verdict = f"Compared with {base.run.id}: {headline(compare((base.run, base.records), (run, records)))}."
    assert outline.text.index(verdict) < outline.text.index("Leaderboard")
    assert "only in the new run: 18 cases" in outline.text
    titles = [ElementTree.fromstring(one).findtext("{http://www.w3.org/2000/svg}title") for one in outline.images()]
    assert titles[3:5] == ["Scores of both runs", "Cost of a streamed step in both runs"]
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))


def test_runs_without_shared_cases_give_a_page(run: RunFile, records: list[Record]) -> None:
    other = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch="else", task="other")
    baseline = reports.Baseline(run=synthetic.run([other.case]), records=[other])
    text = Outline(reports.page(run, records, baseline=baseline)).text
    assert "else on other at 32 (in the baseline)" in text
    assert "Scores and step costs in both runs" not in text


@pytest.mark.slow
def test_hostile_names_in_both_runs_are_shown_as_text() -> None:
    def shown(names: Iterable[str]) -> Outline:
        records = [
            synthetic.renamed(synthetic.case("gru", "adding", 32, n), arch=name, task=name)
            for name in names
            for n in range(2)
        ]
        run = synthetic.run([record.case for record in records], id="one")
        return Outline(reports.page(run, records, baseline=reports.Baseline(run=run, records=records)))

    hostile, harmless = shown(TWINS), shown(TWINS.values())
    assert hostile.shape() == harmless.shape()
    for string, twin in TWINS.items():
        assert hostile.text.count(string) == harmless.text.count(twin) > 5, string
