"""The leaderboard for other programs: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, fields

from reports._display import leaderboard_table, notes
from reports._series import groups
from reports.tables import LeaderboardRow, leaderboard_of
from results import Record, RunFile

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes a text cell that begins with one of these for a formula."""

_LATEX_COLUMNS = (
    *("task", "length", "architecture", "score (95% interval)", "chance", "blind to the past"),
    *("seeds solved", "parameters"),
)

_AS_WIDE_AS_THE_TEXT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"


def as_markdown(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard as a Markdown table, what is missing listed below it."""
    rows = leaderboard_of(groups(run, records))
    table = leaderboard_table(rows)
    align = [":--" if place < table.names else "--:" for place in range(len(table.headings))]
    lines = [_markdown_line(table.headings), f"| {' | '.join(align)} |", *map(_markdown_line, table.rows)]
    missing = [f"- {_markdown_text(note)}" for note in notes(rows)]
    return "\n".join([*lines, *(["", "Failed or missing:", "", *missing] if missing else [])]) + "\n"


def as_csv(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard with unrounded numbers, one line a row; every text in quotes, none of it a formula."""
    names = [field.name for field in fields(LeaderboardRow)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(names)
    for row in leaderboard_of(groups(run, records)):
        values = asdict(row) | {
            "seed_scores": " ".join(f"{score!r}" for score in row.seed_scores),
            "problems": "; ".join(row.problems),
        }
        writer.writerow([_neutral(values[name]) for name in names])
    return out.getvalue()


def as_latex(run: RunFile, records: Sequence[Record]) -> str:
    """The leaderboard as a `booktabs` table; what is missing stands in the caption."""
    import pandas

    rows = leaderboard_of(groups(run, records))
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
        caption=_latex_text(caption),
        label="tab:carousel",
    )
    text = text.replace("\\begin{tabular}", f"{_AS_WIDE_AS_THE_TEXT}\\begin{{tabular}}", 1)
    text = "\\end{tabular}}".join(text.rsplit("\\end{tabular}", 1))
    return "% needs \\usepackage{booktabs,graphicx}\n" + _in_ascii(text)


def _neutral(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS) else value


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown_text, cells))} |"


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*\[\]<>|#~!&])", r"\\\1", " ".join(text.split()))


def _latex_text(text: str) -> str:
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(escapes.get(letter, letter) for letter in " ".join(text.split()))


def _in_ascii(text: str) -> str:
    """Letters that an installation may have no font for are written by their number in Unicode."""
    for letter, command in {"±": r"$\pm$", "—": "---", "–": "--", "µ": r"$\mu$", "…": r"\dots{}"}.items():
        text = text.replace(letter, command)
    return "".join(one if one in "\n\t" or " " <= one <= "~" else f"U+{ord(one):04X}" for one in text)
