"""The leaderboard for other programs: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

from reports.analysis.groups import group_cases
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of
from reports.format import numbers
from reports.format.escape import escape_formula, latex_text, markdown_text, to_ascii
from results import Record, RunFile

_LATEX_COLUMNS = (
    *("task", "length", "architecture", "score (95% interval)", "chance", "blind to the past"),
    *("seeds solved", "parameters"),
)

_AS_WIDE_AS_THE_TEXT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"


def as_markdown(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard as a Markdown table, what is missing listed below it."""
    rows = leaderboard_of(group_cases(run, records))
    table = leaderboard_table(rows)
    align = [":--" if place < table.names else "--:" for place in range(len(table.headings))]
    lines = [_markdown_line(table.headings), f"| {' | '.join(align)} |", *map(_markdown_line, table.rows)]
    missing = [f"- {markdown_text(note)}" for note in notes(rows)]
    return "\n".join([*lines, *(["", "Failed or missing:", "", *missing] if missing else [])]) + "\n"


def as_csv(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard with unrounded numbers, one line a row; every text in quotes, none of it a formula."""
    names = [field.name for field in fields(LeaderboardRow)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(names)
    for row in leaderboard_of(group_cases(run, records)):
        values = asdict(row) | {
            "seed_scores": " ".join(f"{score!r}" for score in row.seed_scores),
            "problems": "; ".join(row.problems),
        }
        writer.writerow([escape_formula(values[name]) for name in names])
    return out.getvalue()


def as_latex(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard as a `booktabs` table; what is missing stands in the caption."""
    import pandas

    rows = leaderboard_of(group_cases(run, records))
    table = leaderboard_table(rows)
    kept = [
        place
        for place, heading in enumerate(table.headings)
        if heading in _LATEX_COLUMNS or (heading.startswith(("state", "step ")) and " near " not in heading)
    ]
    frame = pandas.DataFrame(
        [[row[place] for place in kept] for row in table.rows], columns=[table.headings[place] for place in kept]
    )
    styler = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis="columns")
    missing = " ".join(f"{note}." for note in notes(rows))
    caption = f"Run {run.id}, plan {run.plan}: mean score over seeds with its 95% interval." + (
        f" Failed or missing: {missing}" if missing else ""
    )
    text = styler.to_latex(
        hrules=True,
        position="tbp",
        position_float="centering",
        column_format="".join("l" if place < table.names else "r" for place in kept),
        caption=latex_text(caption),
        label="tab:carousel",
    )
    text = text.replace("\\begin{tabular}", f"{_AS_WIDE_AS_THE_TEXT}\\begin{{tabular}}", 1)
    text = "\\end{tabular}}".join(text.rsplit("\\end{tabular}", 1))
    return "% needs \\usepackage{booktabs,graphicx}\n" + to_ascii(text)


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headings with one written cell each per row. The first `names` columns hold words, the others numbers."""

    headings: tuple[str, ...]
    names: int
    rows: tuple[tuple[str, ...], ...]


def leaderboard_table(rows: Sequence[LeaderboardRow]) -> Table:
    """The leaderboard. The streamed positions stand in the headings where all rows share them, else in the cells."""
    far = {row.far_position for row in rows if row.far_position is not None}
    far_title = f" at {min(far):,}" if len(far) == 1 else ""

    def at(row: LeaderboardRow, text: str) -> str:
        return text if row.far_position is None or len(far) == 1 else f"{text} at {row.far_position:,}"

    def near(row: LeaderboardRow) -> str:
        text = numbers.microseconds(row.near_step_seconds)
        return text if row.near_position in (None, row.length) else f"{text} at {row.near_position:,}"

    columns: list[tuple[str, Callable[[LeaderboardRow], str]]] = [
        ("task", lambda row: row.task),
        ("length", lambda row: numbers.count(row.length)),
        ("architecture", lambda row: row.arch),
        ("score (95% interval)", lambda row: numbers.estimate(row.score, row.score_low, row.score_high)),
        ("chance", lambda row: numbers.score(row.chance)),
        ("blind to the past", lambda row: numbers.score(row.memoryless_score)),
        ("seeds solved", lambda row: f"{row.solved}/{row.seeds}"),
        ("seeds scored", lambda row: f"{row.scored}/{row.seeds}"),
        ("parameters", lambda row: numbers.count(row.parameters)),
        (f"state{far_title}", lambda row: at(row, numbers.size(row.state_bytes))),
        ("step p50 near the length, µs", near),
        (f"step p50{far_title}, µs", lambda row: at(row, numbers.microseconds(row.far_step_seconds))),
        (f"step p99{far_title}, µs", lambda row: at(row, numbers.microseconds(row.far_step_p99_seconds))),
    ]
    return Table(
        headings=tuple(heading for heading, _ in columns),
        names=3,
        rows=tuple(tuple(cell(row) for _, cell in columns) for row in rows),
    )


def notes(rows: Sequence[LeaderboardRow]) -> list[str]:
    """What the dashes stand for: every failed or missing seed with its reason."""
    return [f"{row.arch} on {row.task} at {row.length:,}: {problem}" for row in rows for problem in row.problems]
