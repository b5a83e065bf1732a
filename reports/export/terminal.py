"""The leaderboard on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reports.analysis.groups import group_cases, specifications
from reports.analysis.health import health
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.format import numbers
from reports.text.claims import ledger, summary
from reports.text.conclusions import clears, conclusions
from reports.text.recommendation import choice
from results import Record, RunFile

MAX_PROBLEMS = 12
WIDE_ENOUGH = 1_000
"""More letters than any row has: tables are measured at this width."""


def render_terminal(run: RunFile, records: Sequence[Record], *, console: Console | None = None) -> None:
    """Print verdict, leaderboard, what failed, and the conclusions."""
    console = console or Console()
    found = group_cases(run, records)
    rows = leaderboard_of(found)
    state = health(found, finished=run.finished is not None)
    if rows:
        _print_table(console, rows)
    for problem in state.problems[:MAX_PROBLEMS]:
        where = f"{problem.arch} on {problem.task} at {problem.length:,}"
        console.print(Text(f"— {where}: {problem.brief}", style="yellow"), soft_wrap=True)
    if len(state.problems) > MAX_PROBLEMS:
        rest = len(state.problems) - MAX_PROBLEMS
        console.print(Text(f"— and {rest} more, all of them in the report", style="yellow"))
    if claims := ledger(run, records):
        console.print(Text(summary(claims)), soft_wrap=True)
        for row in claims:
            value = f": {row.findings[0].value}" if len(row.findings) == 1 else ""
            doubt = f" ({row.doubt})" if row.doubt and not value else ""
            console.print(Text(f"— {row.text} {row.verdict}{value}{doubt}"), soft_wrap=True)
    for line in [*conclusions(found), *filter(None, [choice(found)])]:
        console.print(Text(line), soft_wrap=True)
    for label, specification in specifications(found).items():
        if label != specification:
            console.print(Text(f"{label} = {specification}", style="dim"), soft_wrap=True)
    console.print(Text(state.verdict, style="bold" if state.ok == state.cases else "bold yellow"), soft_wrap=True)


def _print_table(console: Console, rows: Sequence[LeaderboardRow]) -> None:
    """The table with as many columns as fit a terminal, all of them into a file; a number is never cut."""
    kept = list(COLUMNS)
    table, width = _table(console, rows, kept)
    for dropped in DROPPED_IN_ORDER:
        if not console.is_terminal or width <= console.width:
            break
        kept.remove(dropped)
        table, width = _table(console, rows, kept)
    table.width = width
    console.print(table, soft_wrap=True)


def _table(console: Console, rows: Sequence[LeaderboardRow], kept: Sequence[str]) -> tuple[Table, int]:
    """The table of these columns, and the width that it needs."""
    far = {row.far_position for row in rows if row.far_position is not None}
    end = f"position {min(far):,}" if len(far) == 1 else "the longest position"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0), show_edge=False, caption_justify="left")
    table.add_column("task, architecture", no_wrap=True)
    for heading in kept:
        table.add_column(COLUMNS[heading][0], justify="right", no_wrap=True)
    for place in dict.fromkeys((row.task, row.length) for row in rows):
        rivals = [row for row in rows if (row.task, row.length) == place]
        table.add_section()
        table.add_row(f"[bold]{escape(numbers.shortened(place[0], 24))} {place[1]:,}[/]")
        for row in rivals:
            name = f"  {escape(numbers.shortened(row.arch, 24))}"
            table.add_row(name, *(COLUMNS[heading][1](row) for heading in kept))
        for name, line in _lines(rivals).items():
            table.add_row(f"[dim]  {name}[/]", f"[dim]{line:.2f}{' ' * 12}[/]")
    options = console.options.update(width=WIDE_ENOUGH)
    width = Measurement.get(console, options, table).maximum
    if far:
        near = "step: p50 in µs near the task's length; end: at"
        table.caption = f"{near if 'step' in kept else 'step end: p50 in µs at'} {end}"
    return table, width


def _lines(rivals: Sequence[LeaderboardRow]) -> dict[str, float]:
    """What the scores above are to be compared with, written as rows below them."""
    blind = next((row.memoryless_score for row in rivals if row.memoryless_score is not None), None)
    chance = next((row.chance for row in rivals if row.chance is not None), None)
    found = {"blind to the past": blind, "chance": chance}
    return {name: line for name, line in found.items() if line is not None}


def _coloured(row: LeaderboardRow) -> str:
    text = f"{numbers.score(row.score, 2)}{' ' * 12}"
    if row.score_low is not None:
        text = f"{numbers.score(row.score, 2)} ({numbers.score(row.score_low, 2)}–{numbers.score(row.score_high, 2)})"
    if row.score is None or row.chance is None:
        return text
    if row.solved == row.seeds:
        return f"[green]{text}[/]"
    line = max(row.chance, row.memoryless_score or 0.0)
    return text if row.score_low is None or clears(row.score, row.score_low, line) else f"[red]{text}[/]"


COLUMNS: dict[str, tuple[str, Callable[[LeaderboardRow], str]]] = {
    "score": ("score (95%)    ", _coloured),
    "solved": ("solved", lambda row: f"{row.solved}/{row.seeds}"),
    "params": ("params", lambda row: numbers.count(row.parameters)),
    "state": ("state\nend", lambda row: numbers.size(row.state_bytes)),
    "step": ("step\nµs", lambda row: numbers.microseconds(row.near_step_seconds)),
    "step end": ("step end\nµs", lambda row: numbers.microseconds(row.far_step_seconds)),
    "p99 end": ("p99 end\nµs", lambda row: numbers.microseconds(row.far_step_p99_seconds)),
}
DROPPED_IN_ORDER = ("p99 end", "step", "state", "params")
