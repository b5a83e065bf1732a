"""The summary of a run on the terminal: the leaderboard, followed by problems, claims and findings."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reports.analysis.frontier import Needs, Quantity, frontier
from reports.analysis.groups import full_names, group_cases
from reports.analysis.health import health
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.analysis.learning_rates import rate_rows, tuning_cost
from reports.analysis.overview import overview_rows
from reports.export.names import BASELINE, SHORT_BASELINE
from reports.format import new_console, numbers, print_lines, print_parts
from reports.format.console import MEASURING_WIDTH
from reports.text.budgets import missed_budgets
from reports.text.claims import LedgerRow, ledger, summary
from reports.text.conclusions import conclusions
from reports.text.learning_rates import cost_sentence, edge_warning, missing_warning, sources
from reports.text.lengths import effective_text
from reports.text.losses import loss_value
from reports.text.needs import answer
from reports.text.recommendation import recommendation
from reports.text.streaming import CALLED
from results import Record, RunFile

Column = tuple[str, Callable[[LeaderboardRow], Text | str]]
"""A heading, and a function that returns the cell of a row."""
NAME_LETTERS = (40, 24, 15)
"""The lengths of a line of a name in the leaderboard. The first that fits is used; longer names take several lines."""
MAX_NAME_LETTERS = 400
"""Names are cut only beyond this length, which no name of Carousel has."""
UNTRAINED = "untrained"
"""What stands in place of the score of an untrained model."""
INTERPRETED_MARK = "*"
"""The mark of a step time in the leaderboard if the step is interpreted."""
MEANINGS = {"green": "every seed solved the task", "red": "no score and no loss shows use of the past"}
"""What the colours of scores mean."""
INDENT = 2
"""The number of spaces before the name of an architecture, and before further lines of a name."""
MAX_PROBLEMS = 12
"""The terminal lists at most this many problems."""
MAX_CONDITIONS = 3
"""Largest number of conditions of a claim whose values are printed."""


def render_terminal(
    run: RunFile,
    records: Sequence[Record],
    *,
    unusable: Mapping[str, str] | None = None,
    console: Console | None = None,
    needs: Needs | None = None,
    options: Mapping[Quantity, str] | None = None,
) -> None:
    """Print a summary of a run: leaderboard, problems, claims, findings, recommendation, full names and verdict.

    With limits, the answer to them takes the place of the recommendation.

    Args:
        run: The run to print.
        records: The records of the run.
        unusable: Why a record cannot be used, by case key; None if there is no such record.
        console: The console; None prints to standard output.
        needs: The limits of the user; None for no limits.
        options: The options that set the limits, such as `--max-step 5us`; None to describe the limits in words.
    """
    console = console or new_console()
    run_groups = group_cases(run, records, unusable)
    rows = leaderboard_of(run_groups)
    run_health = health(run_groups, finished=run.finished is not None)
    if rows:
        _print_table(console, rows)
    rates = rate_rows(run_groups, records)
    print_lines(filter(None, [edge_warning(rates), missing_warning(rates)]), console, style="yellow")
    if any(row.results for row in rates):
        print_lines([" ".join(filter(None, [*sources(rates), cost_sentence(tuning_cost(records))]))], console)
    for problem in run_health.problems[:MAX_PROBLEMS]:
        label = f"{problem.arch} on {problem.task} at {problem.length:,}"
        print_lines([f"— {label}: {problem.brief}"], console, style="yellow")
    if len(run_health.problems) > MAX_PROBLEMS:
        rest = len(run_health.problems) - MAX_PROBLEMS
        print_lines([f"— and {rest} more; the report lists them all"], console, style="yellow")
    if claims := ledger(run, records):
        print_lines([summary(claims)], console)
        for row in claims:
            print_lines([_claim_line(row)], console)
    print_lines(missed_budgets(run_groups), console, style="yellow")
    run_frontier = frontier(run_groups, overview_rows(run_groups))
    advice = answer(run_frontier, needs or Needs(), options) or list(filter(None, [recommendation(run_frontier)]))
    print_lines([*conclusions(run_groups), *advice], console)
    for label, specification in full_names(run_groups).items():
        if label != specification:
            print_lines([f"{label} = {specification}"], console, style="dim")
    print_lines([run_health.verdict], console, style="bold" if run_health.ok == run_health.cases else "bold yellow")


def _claim_line(row: LedgerRow) -> str:
    """Return a claim with its verdict, our value, or those of a few conditions, and the published one."""
    values = [each.value if len(row.findings) == 1 else f"{each.condition} {each.value}" for each in row.findings]
    value = f": {'; '.join(values)}" if 0 < len(values) <= MAX_CONDITIONS else ""
    doubt = f" ({row.doubt})" if row.doubt and (len(values) != 1 or row.kind == "undecided") else ""
    published = f"; published: {row.published}" if row.published else ""
    return f"— {row.text} {row.verdict}{value}{doubt}{published}"


def _print_table(console: Console, rows: Sequence[LeaderboardRow]) -> None:
    """Print the leaderboard, and what its colours mean.

    On a narrow terminal, long names take several lines and whole columns are dropped, so that no name and no number is
    cut.
    """
    for (columns, letters), baseline in itertools.product(_layouts(_columns(rows)), (BASELINE, SHORT_BASELINE)):
        table, width = _table(console, rows, columns, letters, baseline)
        if not console.is_terminal or width <= console.width:
            break
    table.width = width
    console.print(table, soft_wrap=True)
    if baseline == SHORT_BASELINE and any(row.memoryless_score is not None for row in rows):
        print_lines([f"{SHORT_BASELINE}: {BASELINE}"], console)
    if console.color_system is not None and not console.no_color and (legend := _colour_legend(rows)):
        print_parts(legend, console)


def _layouts(columns: Mapping[str, Column]) -> Iterator[tuple[dict[str, Column], int]]:
    """Yield layouts of the leaderboard, from the widest to the narrowest: its columns, and the letters of a name."""
    remaining = dict(columns)
    widest, usual, narrowest = NAME_LETTERS
    yield dict(remaining), MAX_NAME_LETTERS
    ranges = [name for name in columns if name not in COLUMNS]
    for letters, dropped in ((widest, FIRST_DROPPED), (usual, (*ranges, *DROP_ORDER)), (narrowest, LAST_DROPPED)):
        yield dict(remaining), letters
        for name in dropped:
            if remaining.pop(name, None) is not None:
                yield dict(remaining), letters


def _colour_legend(rows: Sequence[LeaderboardRow]) -> list[tuple[str, str]]:
    """Return a line that explains the colours of the scores, as texts with their styles.

    The list is empty if no score is coloured.
    """
    used = {_coloured_score(row).style for row in rows}
    parts: list[tuple[str, str]] = []
    for colour, meaning in MEANINGS.items():
        if colour in used:
            parts += [("; in " if parts else "scores in ", ""), (colour, colour), (f": {meaning}", "")]
    return parts


def _table(
    console: Console, rows: Sequence[LeaderboardRow], columns: Mapping[str, Column], letters: int, baseline: str
) -> tuple[Table, int]:
    """Return a table with the given columns, and the width in characters that the table needs.

    A line of a name has at most `letters` characters. `baseline` is the name of the memoryless baseline.
    """
    far = {row.far_position for row in rows if row.far_position is not None}
    end = f"position {min(far):,}" if len(far) == 1 else "the last position"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, caption_justify="left")
    table.add_column("task,\narchitecture", no_wrap=True)
    for heading, _ in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    names = numbers.shortened_apart((name for row in rows for name in (row.task, row.arch)), MAX_NAME_LETTERS)
    for task, length in dict.fromkeys((row.task, row.length) for row in rows):
        rivals = [row for row in rows if (row.task, row.length) == (task, length)]
        table.add_section()
        table.add_row(Text(_in_lines(f"{names[task]} {length:,}", letters + INDENT), "bold"))
        for row in rivals:
            table.add_row(
                Text(_in_lines(names[row.arch], letters, INDENT)), *(cell(row) for _, cell in columns.values())
            )
        for name, score in _reference_scores(rivals, baseline).items():
            table.add_row(Text(_in_lines(name, letters, INDENT), "dim"), Text(f"{score:.2f}{' ' * 12}", "dim"))
        if "mse" in columns and (constant := _constant_loss(rivals)) is not None:
            table.add_row(Text("  best constant", "dim"), "", Text(loss_value(constant), "dim"))
    options = console.options.update(width=MEASURING_WIDTH)
    width = Measurement.get(console, options, table).maximum
    if far:
        table.caption = f"{_step_caption(rows, columns)} {end}{_marks_caption(rows)}"
    return table, width


def _in_lines(name: str, letters: int, indent: int = 0) -> str:
    """Return a name in lines of at most `letters` characters, indented. Further lines are indented by `INDENT` more."""
    first, *others = [name] if len(name) <= letters else numbers.folded(name, letters - INDENT)
    return "\n".join([" " * indent + first, *(" " * (indent + INDENT) + line for line in others)])


def _step_caption(rows: Sequence[LeaderboardRow], columns: Mapping[str, Column]) -> str:
    how = "in a compiled loop" if any(row.step_timing == "compiled" for row in rows) else CALLED
    moved = "moved: bytes that a step reads and writes; " if "moved" in columns else ""
    if "step" in columns:
        return f"{moved}step: p50 {how} near the trained length; end: at"
    return f"{moved}step end: p50 {how} at"


def _marks_caption(rows: Sequence[LeaderboardRow]) -> str:
    if all(row.step_timing != "interpreted" for row in rows):
        return ""
    unranked = ", not ranked among compiled steps" if any(row.step_timing == "compiled" for row in rows) else ""
    return f"\n{INTERPRETED_MARK} interpreted: {CALLED}{unranked}"


def _step(row: LeaderboardRow, seconds: float | None) -> str:
    """Return a step time in microseconds, with a mark if the step is interpreted."""
    mark = INTERPRETED_MARK if row.step_timing == "interpreted" and seconds is not None else ""
    return f"{numbers.microseconds(seconds)}{mark}"


def _reference_scores(rivals: Sequence[LeaderboardRow], baseline: str) -> dict[str, float]:
    """Return the scores of partial strategies, then the reference scores, by name; unknown scores are left out."""
    memoryless = next((row.memoryless_score for row in rivals if row.memoryless_score is not None), None)
    chance = next((row.chance for row in rivals if row.chance is not None), None)
    strategies = next((row.strategies for row in rivals if row.strategies), ())
    scores = {each.name: each.score for each in strategies} | {baseline: memoryless, "chance": chance}
    return {name: score for name, score in scores.items() if score is not None}


def _coloured_score(row: LeaderboardRow) -> Text:
    """Return the score with its interval.

    The text is green if all seeds solved the task. It is red if neither the scores nor the losses show use of the past,
    by any seed or on average, unless more training could change them.
    """
    if not row.trained:
        return Text(f"{UNTRAINED}{' ' * 7}")
    text = _estimate(row.score, row.score_low, row.score_high)
    if row.evidence is None:
        return Text(text)
    if row.evidence.solving == row.seeds:
        return Text(text, "green")
    by_loss = row.loss is not None and row.loss.shows_past
    return Text(text, "" if row.undecided or row.evidence.shows_past or by_loss else "red")


def _estimate(score: float | None, low: float | None, high: float | None) -> str:
    """Return a score with its interval, or alone if it has none."""
    interval = "" if low is None else f" ({numbers.score(low, 2)}–{numbers.score(high, 2)})"
    return f"{numbers.score(score, 2)}{interval}"


def _range_column(lengths: str) -> Column:
    """Return the column of scores over a range of test lengths."""

    def cell(row: LeaderboardRow) -> str:
        return next((numbers.score(each.score, 2) for each in row.range_scores if each.lengths == lengths), "—")

    return lengths, cell


def _columns(rows: Sequence[LeaderboardRow]) -> dict[str, Column]:
    """Return the columns of the leaderboard by name. Columns that would be empty are left out."""
    columns = dict(COLUMNS)
    if not any(row.trained for row in rows):
        del columns["score"], columns["solved"]
    if all(row.effective is None for row in rows):
        del columns["effective"]
    if all(row.early_stopped_score is None for row in rows):
        del columns["best validated"]
    if not _constant_loss(rows):
        del columns["mse"]
    if not any(row.still_learning for row in rows):
        del columns["learning"]
    for name, value in NEEDS.items():
        if all(value(row) is None for row in rows):
            del columns[name]
    if all(row.far_position is None for row in rows):
        for name in STREAMED:
            columns.pop(name, None)
    ranges = dict.fromkeys(each.lengths for row in rows for each in row.range_scores)
    return columns | {lengths: _range_column(lengths) for lengths in ranges}


def _constant_loss(rows: Sequence[LeaderboardRow]) -> float | None:
    """Return the error of the best constant answer, or None if no row has one."""
    return next((row.loss.constant for row in rows if row.loss is not None and row.loss.constant is not None), None)


COLUMNS: dict[str, Column] = {
    "score": ("score (95%)    ", _coloured_score),
    "best validated": (
        "best validated\nweights (95%)",
        lambda row: _estimate(row.early_stopped_score, row.early_stopped_low, row.early_stopped_high),
    ),
    "mse": ("mse", lambda row: loss_value(row.loss.mean) if row.loss and row.loss.constant is not None else "—"),
    "solved": ("solved", lambda row: f"{row.solved}/{row.seeds}" if row.trained else "—"),
    "learning": ("still\nlearning", lambda row: f"{row.still_learning}/{row.scored}" if row.still_learning else ""),
    "effective": ("effect.\nlength", lambda row: effective_text(row.effective)),
    "params": ("params", lambda row: numbers.count(row.parameters)),
    "state": ("state\nend", lambda row: numbers.size(row.state_bytes)),
    "step": ("step\nµs", lambda row: _step(row, row.near_step_seconds)),
    "step end": ("step end\nµs", lambda row: _step(row, row.far_step_seconds)),
    "p99 end": ("p99 end\nµs", lambda row: _step(row, row.far_step_p99_seconds)),
    "flops": ("FLOPs\nend", lambda row: numbers.whole(row.step_flops)),
    "moved": ("moved\nend", lambda row: numbers.size(row.step_bytes)),
    "weights": ("weights", lambda row: numbers.size(row.weight_bytes)),
}
NEEDS: dict[str, Callable[[LeaderboardRow], float | None]] = {
    "flops": lambda row: row.step_flops,
    "moved": lambda row: row.step_bytes,
    "weights": lambda row: row.weight_bytes,
}
"""The values of columns that are left out if no row has one."""
STREAMED = ("state", "step", "step end", "p99 end", "flops", "moved")
"""The columns that only streamed rows fill."""
FIRST_DROPPED = ("weights", "moved", "flops")
"""Columns that a terminal drops, in this order, before names have lines of usual length."""
DROP_ORDER = ("p99 end", "step", "state", "params", "effective", "mse", "best validated")
"""Columns in the order in which a narrow terminal drops them next, after those of ranges."""
LAST_DROPPED = ("learning", "step end", "solved")
"""Columns that a terminal drops only if names have short lines already."""
