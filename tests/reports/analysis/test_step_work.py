"""The table of the work of a step has FLOPs, bytes moved, weights and state, one row per range of equal numbers."""

from __future__ import annotations

import re

import pytest

import reports
from reports.analysis.groups import Group, group_cases
from reports.analysis.streaming.step_work import step_work
from results import Record, RunFile
from tests.reports import synthetic

LAST = synthetic.POSITIONS[-1]


def groups_of(records: list[Record]) -> list[Group]:
    return group_cases(synthetic.run([record.case for record in records]), records)


def test_equal_positions_share_a_row_and_others_have_the_first_and_the_last(
    run: RunFile, records: list[Record]
) -> None:
    work = step_work(group_cases(run, records))
    (gru,) = work["gru"]
    assert (gru.positions, gru.flops, gru.moved_bytes) == (f"1 to {LAST:,}", 40e3, 80e3)
    assert (gru.state_bytes, gru.weight_bytes, gru.intensity) == (640, 4.0 * 20_003, pytest.approx(0.5))
    first, last = work["transformer"]
    assert (first.positions, first.state_bytes) == ("1", 512)
    assert (last.positions, last.state_bytes) == (f"{LAST:,}", 512 * LAST)


def test_unstated_work_is_unknown() -> None:
    sound = synthetic.record(synthetic.case("gru", "adding", 32, 0))
    kept = tuple(each for each in sound.measurements if each.metric not in ("step_flops", "step_bytes"))
    (row,) = step_work(groups_of([sound.model_copy(update={"measurements": kept})]))["gru"]
    assert (row.flops, row.moved_bytes, row.intensity, row.state_bytes) == (None, None, None, 640)
    unstreamed = sound.model_copy(update={"measurements": tuple(sound.of("accuracy"))})
    assert step_work(groups_of([unstreamed])) == {}


def test_page_shows_the_work_of_a_step(run: RunFile, records: list[Record]) -> None:
    page = reports.page(run, records)
    section = page[page.index('<h3 id="work">') :]
    table = section[: section.index("</table>")]
    rows = [re.findall(r"<td>([^<]*)</td>", row) for row in table.split("<tr>")[2:]]
    assert ["1 to 16,384", "40,000", "78.1 KiB", "0.500", "78.1 KiB", "640 B"] in rows
    assert len(rows) == 5
