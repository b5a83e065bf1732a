"""The table of gate levels has the expected means over seeds, and appears on the page."""

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
"""The tolerance for means of a few doubles."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [inner.record(case) for case in inner.cases()]


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
            offset = 0.1 * row.layer
            assert list(row.levels) == ["hold"]
            levels = row.levels["hold"]
            assert (levels.first, levels.between, levels.last) == pytest.approx(
                (0.55 + offset, 0.35 + offset, 0.25 + offset), abs=CLOSE
            )
            ratios = [(0.3 + offset) / (0.5 + offset), (0.4 + offset) / (0.6 + offset)]
            assert levels.contrast == pytest.approx(
                sum(ratios) / 2, abs=CLOSE
            )  # a mean of ratios, not a ratio of means


def test_two_steps_have_no_level_between_and_no_contrast(records: list[Record]) -> None:
    short = [
        record.model_copy(
            update={
                "measurements": tuple(
                    Measurement(metric="read_gate", at={"layer": 0, "step": step}, samples=(step / 4,))
                    for step in (1, 2)
                )
            }
        )
        for record in records
        if record.case.arch == inner.LSTM
    ]
    (table,) = gate_levels(group_cases(inner.run(), short))
    levels = table.archs[0][2][0].levels["read"]
    assert (levels.first, levels.between, levels.last, levels.contrast) == (0.25, None, 0.5, None)


def test_page_shows_the_table_and_explains_it(records: list[Record]) -> None:
    gates_only = [
        record.model_copy(
            update={
                "training": None,
                "measurements": tuple(m for m in record.measurements if m.metric in ("hold_gate", "hold_contrast")),
            }
        )
        for record in records
    ]
    page = html.unescape(reports.page(inner.run(), gates_only))
    table = page[page.index('<table class="levels">') :]
    table = table[: table.index("</table>")]
    body = table[table.index("<tbody>") :]
    cells = [re.findall(r"<t[dh][^>]*>([^<]*)<", row) for row in body.split("<tr>")[1:]]
    assert cells[0][1:] == ["2", "1", "hold", "0.55", "0.35", "0.25", "0.63×"]
    assert cells[1] == ["2", "hold", "0.65", "0.45", "0.35", "0.69×"]
    assert table.count('scope="rowgroup"') == 4  # without a measured fit, no training is an alternative
    assert EXPLANATION in page
    assert page.index('id="inside"') < page.index('id="gate-levels"') < page.index('id="names"')
    unmeasured = [record.model_copy(update={"measurements": ()}) for record in gates_only]
    assert "gate-levels" not in reports.page(inner.run(), unmeasured)
