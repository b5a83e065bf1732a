"""The table of gate levels: means over seeds of numbers that are known, and what the page shows of them."""

from __future__ import annotations

import html
import re

import pytest

import reports
from reports.analysis.gate_levels import EXPLANATION, gate_levels
from reports.analysis.groups import group_cases
from results import Measurement, Record
from tests.reports import inner

CLOSE = 1e-12
"""Means of a few doubles."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [inner.record(one) for one in inner.cases()]


def test_levels_and_contrasts_are_means_over_seeds_by_layer(records: list[Record]) -> None:
    (table,) = gate_levels(group_cases(inner.run(), records))
    assert (table.task, table.length) == ("first_last", inner.LENGTH)
    assert {arch for arch, _, _ in table.archs} == {
        g.arch for g in group_cases(inner.run(), records) if "lstm" in g.arch
    }
    for _, seeds, rows in table.archs:
        assert seeds == 2
        assert [row.layer for row in rows] == [0, 1]
        for row in rows:
            higher = 0.1 * row.layer
            assert list(row.levels) == ["hold"]
            found = row.levels["hold"]
            assert (found.first, found.between, found.last) == pytest.approx(
                (0.55 + higher, 0.35 + higher, 0.25 + higher), abs=CLOSE
            )
            ratios = [(0.3 + higher) / (0.5 + higher), (0.4 + higher) / (0.6 + higher)]
            assert found.contrast == pytest.approx(sum(ratios) / 2, abs=CLOSE)  # seed by seed, no ratio of means


def test_two_steps_have_nothing_between_and_no_contrast(records: list[Record]) -> None:
    short = [
        one.model_copy(
            update={
                "measurements": tuple(
                    Measurement(metric="read_gate", at={"layer": 0, "step": step}, samples=(step / 4,))
                    for step in (1, 2)
                )
            }
        )
        for one in records
        if one.case.arch == inner.LSTM
    ]
    (table,) = gate_levels(group_cases(inner.run(), short))
    levels = table.archs[0][2][0].levels["read"]
    assert (levels.first, levels.between, levels.last, levels.contrast) == (0.25, None, 0.5, None)


def test_the_page_shows_the_table_and_says_what_a_contrast_is(records: list[Record]) -> None:
    alone = [
        one.model_copy(
            update={
                "training": None,
                "measurements": tuple(m for m in one.measurements if m.metric in ("hold_gate", "hold_contrast")),
            }
        )
        for one in records
    ]
    page = html.unescape(reports.page(inner.run(), alone))
    table = page[page.index('<table class="levels">') :]
    table = table[: table.index("</table>")]
    body = table[table.index("<tbody>") :]
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in body.split("<tr>")[1:]]
    assert cells[0] == ["2", "1", "0.55", "0.35", "0.25", "0.63×", *["—"] * 8]
    assert cells[1] == ["2", "0.65", "0.45", "0.35", "0.69×", *["—"] * 8]
    assert table.count('scope="rowgroup"') == 2  # other trainings of a model are in the overfitting figure alone
    assert EXPLANATION in page
    assert page.index('id="inside"') < page.index('id="gate-levels"') < page.index('id="names"')
    without = [one.model_copy(update={"measurements": ()}) for one in alone]
    assert "gate-levels" not in reports.page(inner.run(), without)
