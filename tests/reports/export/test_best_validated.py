"""The scores of the best validated weights have a column of every leaderboard, if a protocol keeps these weights."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

import reports
from reports.analysis.leaderboard import leaderboard
from results import Measurement, Record, RunFile, interval_of_scores
from tests.reports import inner, synthetic

MEAN = "0.930 (0.866–0.994)"
"""The mean score of the best validated weights of the plain LSTM with its interval. Its last weights have 0.925."""


def kept(scores: tuple[float, ...]) -> tuple[RunFile, list[Record]]:
    """Return a run of one GRU per score of its best validated weights, and of one LSTM that does not keep them."""
    records = [synthetic.record(synthetic.case("lstm", "first_last", 32, 0))]
    for seed, score in enumerate(scores):
        record = synthetic.record(synthetic.case("gru", "first_last", 32, seed))
        protocol = record.case.protocol.model_copy(update={"keep_best": True})
        case = record.case.model_copy(update={"protocol": protocol})
        best = Measurement(metric="early_stopped_accuracy", at={"length": 32}, samples=(score,))
        changes = {"case": case, "key": case.key, "measurements": (*record.measurements, best)}
        records.append(record.model_copy(update=changes))
    return synthetic.run([record.case for record in records]), records


def printed(run: RunFile, records: list[Record], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("scores", [(0.9,), (0.9, 0.9, 0.9), (0.8, 0.9, 0.97)])
def test_the_interval_is_found_as_for_the_score(scores: tuple[float, ...]) -> None:
    run, records = kept(scores)
    row = next(row for row in leaderboard(run, records) if row.arch.startswith("gru"))
    low, middle, high = interval_of_scores(scores, synthetic.PROTOCOL.test_sequences)
    assert (row.early_stopped_low, row.early_stopped_score) == pytest.approx((low, middle))
    assert row.early_stopped_high == pytest.approx(min(1.0, high))


def test_markdown_and_latex_have_the_column_only_if_the_weights_were_kept(run: RunFile, records: list[Record]) -> None:
    heading = "score of the best validated weights (95"
    for write in (reports.as_markdown, reports.as_latex):
        assert heading not in write(run, records)
        text = write(*kept((0.8, 0.9, 0.97)))
        assert heading in text
        (gru,) = [line for line in text.splitlines() if re.match(r"\W*first.*gru", line)]
        (lstm,) = [line for line in text.splitlines() if re.match(r"\W*first.*lstm", line)]
        assert re.search(r"0\.890 \(0\.678(–|--)1\.000\)", gru)
        assert gru.count("(0.") == lstm.count("(0.") + 1


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_terminal_has_the_column_in_80_characters(width: int) -> None:
    lines = printed(*kept((0.8, 0.9, 0.97)), width)
    end = next(i for i, line in enumerate(lines) if line.startswith(("step end", "moved")))
    assert max(map(len, lines[:end])) <= width
    assert "best validated" in lines[0] and "weights (95%)" in lines[1]
    (gru,) = [line for line in lines[:end] if line.startswith("  gru")]
    (lstm,) = [line for line in lines[:end] if line.startswith("  lstm")]
    assert "0.89 (0.68–1.00)" in gru and "—" in lstm


def test_the_terminal_has_no_empty_column(run: RunFile, records: list[Record]) -> None:
    assert "best validated" not in " ".join(printed(run, records, 200))


def test_the_page_has_the_column_and_the_method_says_what_is_kept(run: RunFile, records: list[Record]) -> None:
    page = reports.page(inner.run(), [inner.record(case) for case in inner.cases()])
    text = re.sub(r"<[^>]+>", "", page)
    assert page.count('best validated weights <button type="button" class="about"') == 1
    assert MEAN in text
    assert "the weights with the best validation score tested too (keep_best)." in text
    plain = reports.page(run, records)
    assert 'best validated weights <button type="button" class="about"' not in plain
    assert "(keep_best)." not in plain
    mixed = reports.page(*kept((0.9,)))
    assert len(re.findall("tested too \\(keep_best\\)", mixed)) == 1


def test_every_row_of_the_page_has_as_many_cells_as_headings() -> None:
    page = reports.page(*kept((0.8, 0.9, 0.97)))
    (table,) = re.findall(r'<table class="leaderboard.*?</table>', page, re.DOTALL)
    headings = table.count('scope="col"')
    rows = [row for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL) if 'scope="row"' in row]
    assert len(rows) == 2
    assert {len(re.findall(r"<t[dh][ >]", row)) for row in rows} == {headings}
