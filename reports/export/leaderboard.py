"""The leaderboard as Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial

from reports.analysis.groups import full_names, group_cases
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.analysis.streaming.step_costs import marked
from reports.export.csv_text import csv_text
from reports.export.names import latex_names_in_full, names_in_full
from reports.format import numbers
from reports.format.escape import latex_text, markdown_text, to_ascii
from reports.text.budgets import missed_budgets
from reports.text.context import are_untrained, untrained_sentence
from reports.text.lengths import effective_estimate
from reports.text.losses import error_estimate, loss_value
from results import EffectiveLength, LossEvidence, Record, RunFile, ScoreEvidence

Column = tuple[str, Callable[[LeaderboardRow], str]]
"""A heading, and a function that returns the cell of a row."""
PARTS = ("effective", "evidence", "loss")
"""Fields of a row that CSV spreads over columns."""
LISTS = ("range_scores", "strategies")
"""Fields of a row that CSV writes as texts, in its last columns."""
EFFECTIVE_COLUMNS = {
    "effective_length": "length",
    "effective_length_low": "low",
    "effective_length_high": "high",
    "effective_length_coverage": "coverage",
    "longest_length": "longest",
}
"""CSV columns of the effective length, each with its field."""
EVIDENCE_COLUMNS = {"seeds_using_past": "using", "score_shows_past": "shows_past"}
"""CSV columns of what the scores show, each with its field."""
LOSS_COLUMNS = {
    "loss_name": "name",
    "loss": "mean",
    "loss_low": "low",
    "loss_high": "high",
    "constant_loss": "constant",
    "memoryless_loss": "memoryless",
    "loss_shows_past": "shows_past",
}
"""CSV columns of the test loss, each with its field."""
CSV_COLUMNS = (
    *(field.name for field in fields(LeaderboardRow) if field.name not in (*PARTS, *LISTS)),
    *(*EVIDENCE_COLUMNS, *EFFECTIVE_COLUMNS, *LOSS_COLUMNS, *LISTS),
)
_SHRINK_TO_LINE_WIDTH = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"


def as_markdown(run: RunFile, records: Sequence[Record]) -> str:
    """Return the leaderboard as a Markdown table, followed by lists of problems, missed budgets and full names."""
    groups = group_cases(run, records)
    rows = leaderboard_of(groups)
    table = leaderboard_table(rows)
    align = [":--" if i < table.word_columns else "--:" for i in range(len(table.headings))]
    lines = [_markdown_line(table.headings), f"| {' | '.join(align)} |", *map(_markdown_line, table.rows)]
    if untrained := untrained_sentence(groups):
        lines += ["", markdown_text(untrained)]
    for title, texts in (("Failed or missing:", notes(rows)), ("Missed budgets:", missed_budgets(groups))):
        if texts:
            lines += ["", title, "", *(f"- {markdown_text(text)}" for text in texts)]
    if names := names_in_full(full_names(groups)):
        lines += ["", "Names in full:", "", *(f"- {markdown_text(text)}" for text in names)]
    return "\n".join(lines) + "\n"


def as_csv(run: RunFile, records: Sequence[Record]) -> str:
    """Return the leaderboard as CSV, in the spelling of `csv_text`. A list of several numbers is a text."""
    lines: list[list[object]] = []
    for row in leaderboard_of(group_cases(run, records)):
        values = _flat(row) | {
            "seed_scores": row.seed_scores[0] if len(row.seed_scores) == 1 else " ".join(map(repr, row.seed_scores)),
            "problems": "; ".join(row.problems),
            "range_scores": "; ".join(f"{each.lengths} {each.score!r}" for each in row.range_scores),
            "strategies": "; ".join(f"{each.name} {each.score!r}" for each in row.strategies if each.score is not None),
        }
        lines.append([values[name] for name in CSV_COLUMNS])
    return csv_text(CSV_COLUMNS, lines)


def leaderboard_document(run: RunFile, records: Sequence[Record]) -> list[dict[str, object]]:
    """Return the rows of the leaderboard for JSON.

    Each row has the columns of the CSV, unescaped. Problems, scores of seeds, ranges and strategies are lists instead
    of texts. In addition, `effective`, `evidence` and `loss` have every field of these parts, so `loss` is not the mean
    of the loss, as in CSV.
    """
    return [_flat(row) | asdict(row) for row in leaderboard_of(group_cases(run, records))]


def _flat(row: LeaderboardRow) -> dict[str, object]:
    """Return the values of a row by CSV column. Only those of `LISTS` still have parts."""
    return (
        {field.name: getattr(row, field.name) for field in fields(row) if field.name not in PARTS}
        | {name: _of(row.evidence, field) for name, field in EVIDENCE_COLUMNS.items()}
        | {name: _of(row.effective, field) for name, field in EFFECTIVE_COLUMNS.items()}
        | {name: _of(row.loss, field) for name, field in LOSS_COLUMNS.items()}
    )


def _of(part: EffectiveLength | LossEvidence | ScoreEvidence | None, field: str) -> object:
    """Return a field of a part of a row, or None if the row has no such part."""
    return None if part is None else getattr(part, field)


def as_latex(run: RunFile, records: Sequence[Record]) -> str:
    """Return the leaderboard as a LaTeX `booktabs` table. The caption has the problems of seeds and the missed budgets.

    The columns in `Table.wide_only` are left out. A comment names them, and where they are.
    """
    import pandas

    groups = group_cases(run, records)
    rows = leaderboard_of(groups)
    table = leaderboard_table(rows)
    columns = [i for i, heading in enumerate(table.headings) if heading not in table.wide_only]
    frame = pandas.DataFrame(
        [[row[i] for i in columns] for row in table.rows], columns=[table.headings[i] for i in columns]
    )
    styler = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    missing = " ".join(f"{note}." for note in notes(rows))
    what = "costs" if are_untrained(groups) else "mean score over seeds with its 95% interval"
    failed = [f"Failed or missing: {missing}"] if missing else []
    parts = [f"Run {run.id}, plan {run.plan}: {what}.", untrained_sentence(groups), *failed, *missed_budgets(groups)]
    caption = " ".join(filter(None, parts))
    text = styler.to_latex(
        hrules=True,
        position="tbp",
        position_float="centering",
        column_format="".join("l" if i < table.word_columns else "r" for i in columns),
        caption=latex_text(caption),
        label="tab:carousel",
    )
    text = text.replace("\\begin{tabular}", f"{_SHRINK_TO_LINE_WIDTH}\\begin{{tabular}}", 1)
    text = "\\end{tabular}}".join(text.rsplit("\\end{tabular}", 1))
    names = latex_names_in_full(full_names(groups))
    text = text.replace("\\end{table}", f"{names}\\end{{table}}") if names else text
    head = ["% needs \\usepackage{booktabs,graphicx}", f"% run {run.id}"]
    if left_out := [heading for heading in table.headings if heading in table.wide_only]:
        where = f"`carousel show {run.id} --format csv` (or markdown) has them"
        head.append(f"% left out, so that the table fits a page: {'; '.join(left_out)}. {where}")
    return to_ascii("\n".join([*head, text]))


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of formatted cells."""

    headings: tuple[str, ...]
    word_columns: int
    """The number of leading columns that identify a row; the other columns contain results."""
    rows: tuple[tuple[str, ...], ...]
    wide_only: frozenset[str]
    """Headings of the columns that a table on paper leaves out."""


def leaderboard_table(rows: Sequence[LeaderboardRow]) -> Table:
    """Return the leaderboard as formatted cells.

    The last streamed position appears in the headings if all streamed rows have the same last position. If their last
    positions differ, the position appears in the cells. Without streamed rows, there are no columns of costs. Step
    costs are those inside a compiled loop; interpreted steps are marked. The headings say so if the steps of all rows
    were called from Python.
    """
    far = {row.far_position for row in rows if row.far_position is not None}
    far_title = f" at {min(far):,}" if len(far) == 1 else ""

    def at(row: LeaderboardRow, text: str) -> str:
        return text if row.far_position is None or len(far) == 1 else f"{text} at {row.far_position:,}"

    def step(row: LeaderboardRow, seconds: float | None) -> str:
        return marked(numbers.microseconds(seconds), None if seconds is None else row.step_timing)

    def near(row: LeaderboardRow) -> str:
        text = step(row, row.near_step_seconds)
        return text if row.near_position in (None, row.length) else f"{text} at {row.near_position:,}"

    is_compiled = any(row.step_timing == "compiled" for row in rows)
    called = "" if is_compiled or not far else " called from Python"
    near_heading, p99_heading = f"step p50 near the length{called}, µs", f"step p99{far_title}{called}, µs"
    columns: list[Column] = [
        ("task", lambda row: row.task),
        ("length", lambda row: numbers.count(row.length)),
        ("architecture", lambda row: row.arch),
        *(_score_columns(rows) if any(row.trained for row in rows) else []),
        ("parameters", lambda row: numbers.count(row.parameters)),
    ]
    if far:
        columns += [
            (f"state{far_title}", lambda row: at(row, numbers.size(row.state_bytes))),
            (near_heading, near),
            (f"step p50{far_title}{called}, µs", lambda row: at(row, step(row, row.far_step_seconds))),
            (p99_heading, lambda row: at(row, step(row, row.far_step_p99_seconds))),
        ]
    if any(row.still_learning for row in rows):
        heading = "seeds still learning"
        index = next(index for index, (name, _) in enumerate(columns) if name == "seeds solved") + 1
        columns.insert(index, (heading, lambda row: f"{row.still_learning}/{row.scored}"))
    call_heading = f"call p50{far_title}, µs"
    if is_compiled:
        columns += [
            (call_heading, lambda row: at(row, numbers.microseconds(row.far_call_seconds))),
            ("share of the limit", lambda row: numbers.percent(row.limit_share)),
        ]
    needs = _need_columns(rows, far_title, at)
    columns += needs
    return Table(
        headings=tuple(heading for heading, _ in columns),
        word_columns=3,
        rows=tuple(tuple(cell(row) for _, cell in columns) for row in rows),
        wide_only=frozenset(
            {"seeds scored", "learning rate", near_heading, call_heading, *(heading for heading, _ in needs)}
        ),
    )


def _need_columns(
    rows: Sequence[LeaderboardRow], far_title: str, at: Callable[[LeaderboardRow, str], str]
) -> list[Column]:
    """Return the columns of what a step needs besides time. Columns that would be empty are left out.

    Args:
        rows: The rows of the leaderboard.
        far_title: The end of the headings, which names the last streamed position if all rows share it.
        at: Adds the last streamed position to a cell if rows do not share it.
    """
    columns: list[Column] = []
    if any(row.step_flops is not None for row in rows):
        columns.append((f"FLOPs of a step{far_title}", lambda row: at(row, numbers.whole(row.step_flops))))
    if any(row.step_bytes is not None for row in rows):
        columns.append((f"moved by a step{far_title}", lambda row: at(row, numbers.size(row.step_bytes))))
    if any(row.weight_bytes is not None for row in rows):
        columns.append(("weights", lambda row: numbers.size(row.weight_bytes)))
    return columns


def _score_columns(rows: Sequence[LeaderboardRow]) -> list[Column]:
    """Return the columns of scores and training, of rows some of which are trained."""
    return [
        (
            "score (95% interval)",
            lambda row: numbers.estimate(row.score, row.score_low, row.score_high) if row.trained else "untrained",
        ),
        *_best_validated_columns(rows),
        ("chance", lambda row: numbers.score(row.chance)),
        ("memoryless baseline", lambda row: numbers.score(row.memoryless_score)),
        *_loss_columns(rows),
        *_length_columns(rows),
        ("seeds solved", lambda row: f"{row.solved}/{row.seeds}" if row.trained else numbers.MISSING),
        ("seeds scored", lambda row: f"{row.scored}/{row.seeds}" if row.trained else numbers.MISSING),
        ("learning rate", _rate),
    ]


def _best_validated_columns(rows: Sequence[LeaderboardRow]) -> list[Column]:
    """Return the column of the scores of the best validated weights, if a protocol kept them."""
    if all(row.early_stopped_score is None for row in rows):
        return []
    return [
        (
            "score of the best validated weights (95% interval)",
            lambda row: numbers.estimate(row.early_stopped_score, row.early_stopped_low, row.early_stopped_high),
        )
    ]


def _rate(row: LeaderboardRow) -> str:
    if row.learning_rate is None:
        return numbers.MISSING
    return f"{row.learning_rate:g} ({row.learning_rate_source})"


def _loss_columns(rows: Sequence[LeaderboardRow]) -> list[Column]:
    """Return the columns of the squared error beside that of the best constant, if a task has real-valued answers."""
    if all(row.loss is None or row.loss.constant is None for row in rows):
        return []
    return [
        ("mse (95% interval)", lambda row: error_estimate(row.loss)),
        ("mse of the best constant", lambda row: loss_value(None if row.loss is None else row.loss.constant)),
    ]


def _length_columns(rows: Sequence[LeaderboardRow]) -> list[Column]:
    """Return the column of effective lengths, and one column of scores per range of test lengths."""
    has_lengths = any(row.effective is not None for row in rows)
    ranges = dict.fromkeys(each.lengths for row in rows for each in row.range_scores)
    return [
        *([("effective length (over seeds)", lambda row: effective_estimate(row.effective))] if has_lengths else []),
        *((f"score at {lengths}", partial(_score_over, lengths)) for lengths in ranges),
    ]


def _score_over(lengths: str, row: LeaderboardRow) -> str:
    found = next((each for each in row.range_scores if each.lengths == lengths), None)
    return numbers.MISSING if found is None else numbers.estimate(found.score, found.low, found.high)


def notes(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Return one line per problem of each row, with the architecture, task and length of the row."""
    return [f"{row.arch} on {row.task} at {row.length:,}: {problem}" for row in rows for problem in row.problems]
