"""Tables for a paper have the numbers and the ranks of the leaderboard, and fit a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

import reports
from reports.analysis.leaderboard import LeaderboardRow
from reports.analysis.noise import noise
from reports.export.paper_layout import LINE_POINTS, pages
from results import Record, RunFile
from tests.reports import planted, synthetic
from tests.reports.export.latex import compiled
from tests.reports.planted import still_learning
from tests.results.planted import grid, run_of

CONTENTS: tuple[reports.PaperTable, ...] = get_args(reports.PaperTable)
LONG_NAMES = [f"gated_delta_net:heads={n},expansion=2,conv=4,init=orthogonal" for n in range(42)]
Cells = dict[tuple[str, str, int], str]


def cells_of(text: str) -> Cells:
    """Return the cells of all parts of a table by row, task and length, read from its LaTeX."""
    cells: Cells = {}
    for part in re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.DOTALL):
        lines = [line.removesuffix(r" \\") for line in part.splitlines() if line.endswith(r" \\")]
        heads = re.findall(r"\\multicolumn\{(\d+)\}\{c\}\{((?:[^{}]|\{[^{}]*\})*)\}(?: &|$)", lines[0])
        tasks = [plain(name) for count, name in heads for _ in range(int(count))]
        _, *lengths = lines[1].split(" & ")
        for line in lines[2:]:
            name, *row = line.split(" & ")
            for task, length, cell in zip(tasks, lengths, row, strict=True):
                key = (plain(name), task, int(length.replace(",", "")))
                assert key not in cells
                cells[key] = cell
    return cells


def plain(text: str) -> str:
    text = re.sub(r"\\parbox\[b\]\{\d+pt\}\{\\centering (.*)\}", r"\1", text)
    return re.sub(r"\\emph\{(.*)\}", r"\1", text).replace(r"\allowbreak{}", "").replace("\\", "")


def best_group(rows: list[LeaderboardRow]) -> set[str]:
    """Return the architectures that share a letter with every better one."""
    return {
        row.arch
        for row in rows
        if all(
            set(row.ties or "") & set(other.ties or "") for other in rows if (other.score or 0.0) > (row.score or 0.0)
        )
    }


def without_curves(records: list[Record]) -> list[Record]:
    """Return the records without validation curves, so that no architecture counts as still learning."""
    return [
        record
        if record.training is None
        else record.model_copy(update={"training": record.training.model_copy(update={"curve": ()})})
        for record in records
    ]


def caption_of(text: str) -> str:
    found = re.search(r"\\caption\{(.*)\}\n", text)
    assert found is not None
    return found[1].replace(r"\allowbreak{}", "")


def test_scores_are_those_of_the_leaderboard_and_the_best_group_is_bold(run: RunFile, records: list[Record]) -> None:
    text = reports.paper_table(run, records, "score")
    rows, cells = reports.leaderboard(run, records), cells_of(text)
    as_trained = reports.leaderboard(run, without_curves(records))
    assert not any(row.undecided for row in as_trained)
    assert f"% run {run.id}" in text
    for row in rows:
        cell = cells[row.arch, row.task, row.length]
        assert row.score is not None and row.score_low is not None and row.score_high is not None
        found = re.search(r"(\d\.\d\d) \$\\pm\$ (\d\.\d\d)", cell)
        assert found is not None
        assert float(found[1]) == pytest.approx(row.score, abs=0.0051)
        assert float(found[2]) == pytest.approx(max(row.score - row.score_low, row.score_high - row.score), abs=0.0051)
        rivals = [other for other in as_trained if (other.task, other.length) == (row.task, row.length)]
        best = best_group(rivals)
        is_bold = row.arch in best and len(best) < len(rivals)
        assert (r"\textbf" in cell) == is_bold, (row.arch, row.task, row.length)
        assert (r"\dagger" in cell) == row.undecided
    assert sum(r"\textbf" in cell for cell in cells.values()) not in (0, len(rows))
    assert cells["chance", "adding", 32] == "0.08"
    assert cells["memoryless", "first_last", 128] == "0.75"
    assert cells["memoryless", "adding", 32] == "---"


def test_bold_judges_the_scores_of_models_that_were_still_learning(run: RunFile) -> None:
    records = synthetic.sound_records()
    learning = still_learning(records)
    cells = cells_of(reports.paper_table(run, learning, "score"))
    plain = cells_of(reports.paper_table(run, without_curves(records), "score"))
    for key, cell in plain.items():
        assert cells[key].replace(r"\rlap{$^\dagger$}", "") == cell.replace(r"\rlap{$^\dagger$}", "")
    assert r"\dagger" in cells["rnn", "copy_memory", 128] and r"\textbf" not in cells["rnn", "copy_memory", 128]
    tied = [cell for cell in cells.values() if r"\textbf" in cell and r"\dagger" in cell]
    assert len(tied) > len({key[1:] for key in cells}) / 2
    assert "one that is not bold may be as good as the best" in caption_of(reports.paper_table(run, learning, "score"))


@pytest.mark.parametrize(
    ("scores", "bold", "words"),
    [
        ({"adding": 0.9, "first_last": 0.9}, 0, "No difference within a column is significant"),
        ({"adding": 0.9, "first_last": 0.2}, 1, "In a column without bold entries, no difference is significant"),
    ],
)
def test_a_column_in_which_all_are_tied_has_no_bold_entry(scores: dict[str, float], bold: int, words: str) -> None:
    records = [
        record
        for arch in ("gru", "lstm")
        for task, score in scores.items()
        for record in planted.records(arch, 0.9 if arch == "gru" else score, task=task, state=64, microseconds=1)
    ]
    run = synthetic.run([record.case for record in records])
    text = reports.paper_table(run, records, "score")
    assert text.count(r"\textbf") == bold
    assert words in caption_of(text)
    learning = caption_of(reports.paper_table(run, still_learning(records), "score"))
    assert ("not bold may be as good" in learning) == bool(bold)


def test_missed_budgets_stand_below_the_table() -> None:
    records = planted.records("gru", 0.9, state=64, microseconds=1, parameters=30_000)
    text = reports.paper_table(synthetic.run([record.case for record in records]), records, "score")
    assert r"gru has 30,000 parameters, 50\% over the budget of 20,000 parameters." in text


def test_caption_of_steps_says_how_good_the_timings_are(run: RunFile, records: list[Record]) -> None:
    assert "process" not in caption_of(reports.paper_table(run, records, "step"))
    assert "disturbed" not in caption_of(reports.paper_table(run, records, "step"))
    first = [record for record in records if record.case.seed == 0]
    caption = caption_of(reports.paper_table(run, first, "step"))
    assert "Each entry was timed in a single process" in caption
    lone = [record for record in records if record.case.seed == 0 or record.case.arch != "gru"]
    assert "Timed in a single process: gru. Its cost does not show" in caption_of(
        reports.paper_table(run, lone, "step")
    )
    busy = [with_load(record, 0.9 if record.case.arch in ("gru", "transformer") else 0.0) for record in records]
    caption, share = caption_of(reports.paper_table(run, busy, "step")), noise(busy).share
    assert 0.25 < share < 0.75
    assert f"Other work on the machine disturbed {100 * share:.0f}\\% of all timings of the run." in caption


def with_load(record: Record, load: float) -> Record:
    measurements = tuple(
        each.model_copy(update={"blocks": tuple(block.model_copy(update={"load": load}) for block in each.blocks)})
        for each in record.measurements
    )
    return record.model_copy(update={"measurements": measurements})


def test_step_times_are_those_at_the_trained_length(run: RunFile, records: list[Record]) -> None:
    cells = cells_of(reports.paper_table(run, records, "step"))
    for row in reports.leaderboard(run, records):
        assert row.near_step_seconds is not None
        shown = float(cells[row.arch, row.task, row.length].split(" $")[0])
        assert shown == pytest.approx(1e6 * row.near_step_seconds, abs=0.051)


def test_smallest_states_are_bold(run: RunFile, records: list[Record]) -> None:
    cells = cells_of(reports.paper_table(run, records, "state"))
    assert cells["rnn", "adding", 32] == cells["gru", "adding", 32] == r"\textbf{640 B}"
    assert cells["transformer", "adding", 32] == "16.0 KiB"
    assert cells["lstm", "adding", 32] == "1.0 KiB"


def test_problems_and_full_names_stand_below_the_table(run: RunFile, records: list[Record]) -> None:
    text = reports.paper_table(run, records, "score").replace(r"\allowbreak{}", "").replace("\\", "")
    assert "rnn on adding at 128: seed 1 diverged" in text
    assert "lstm: lstm:forget_bias=1" in text
    caption = re.search(r"caption\{(.*)\}\n", text)
    assert (
        caption is not None and caption[1].endswith(".") and caption[1].startswith("Each entry is the mean score over ")
    )


@pytest.mark.parametrize("content", CONTENTS)
def test_a_table_without_values_is_refused(content: reports.PaperTable, run: RunFile, records: list[Record]) -> None:
    unmeasured = [without(record, "accuracy", "step_seconds", "call_step_seconds") for record in records]
    for planned, measured in ((synthetic.run([]), []), (run, []), (run, unmeasured)):
        with pytest.raises(reports.NothingToShow, match=f"no table of {content}s: this run has no "):
            reports.paper_table(planned, measured, content)


def without(record: Record, *metrics: str) -> Record:
    kept = tuple(each for each in record.measurements if each.metric not in metrics)
    return record.model_copy(update={"measurements": kept})


@pytest.mark.parametrize("content", CONTENTS)
def test_table_compiles_on_one_page(
    content: reports.PaperTable, run: RunFile, records: list[Record], tmp_path: Path
) -> None:
    made = compiled(reports.paper_table(run, records, content), tmp_path)
    assert (made.pages, made.problems) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize("archs", [["rnn", "lstm"], LONG_NAMES])
def test_large_table_is_divided_into_parts_and_compiles(archs: list[str], tmp_path: Path) -> None:
    run, records = run_of(grid(archs, tasks=7, lengths=(32, 128, 1024)), 1, processes=1)
    text = reports.paper_table(run, records, "score")
    cells = cells_of(text)
    labels = {row.arch for row in reports.leaderboard(run, records)}
    assert {key[0] for key in cells} == labels
    assert len(cells) == len(labels) * 21
    made = compiled(text, tmp_path)
    assert made.problems == []
    assert made.pages >= text.count(r"\begin{table}") / 3


def test_parts_fit_the_page_and_have_every_column_once() -> None:
    archs = ["lstm", "transformer"]
    settings = [(f"task{n}{'_with_a_long_name' * (n % 3)}", length) for n in range(9) for length in (8, 4096)]
    parts = [part for page in pages(archs, settings, dict.fromkeys(settings, 11), references=2) for part in page]
    assert [setting for part in parts for setting in part.settings] == settings
    assert all(part.points() <= LINE_POINTS for part in parts)
    assert len(parts) < len(settings) / 2


def test_the_memoryless_baseline_has_its_name_if_it_fits_and_else_the_caption_says_so(
    run: RunFile, records: list[Record]
) -> None:
    wide = reports.paper_table(run, records, "score")
    assert r"The row \emph{memoryless} is the memoryless baseline." in wide
    few = [record for record in records if record.case.task == "first_last" and record.case.length == 32]
    narrow = reports.paper_table(synthetic.run([record.case for record in few]), few, "score")
    assert r"\emph{memoryless baseline} & 0.75" in narrow and "The row" not in narrow
