"""Aggregates over tasks and seeds, for the terminal and as Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.analysis.aggregate import LEVELS, Aggregate, aggregates
from reports.analysis.groups import group_cases
from reports.format import new_console, print_lines, print_table
from reports.format.escape import escape_cell, latex_text, markdown_text, to_ascii
from results import Interval, Record, RunFile

NOTHING = (
    "nothing to aggregate: that takes two scored seeds of an architecture in a setting, and tasks that need a memory"
)
CAPTION = (
    "memory shares over tasks, lengths and seeds, with 95% intervals of a stratified bootstrap, and the share of runs "
    "above each level"
)
Rows = list[tuple[str, ...]]


def aggregates_as(format: str, run: RunFile, records: Sequence[Record]) -> str:
    """Return the aggregates of a run as `markdown`, `csv` or `latex`. The text says so if there are none."""
    write: Callable[[RunFile, list[Aggregate]], str] = {"markdown": _markdown, "csv": _csv, "latex": _latex}[format]
    return write(run, aggregates(group_cases(run, records)))


def aggregates_document(run: RunFile, records: Sequence[Record]) -> dict[str, object]:
    """Return the aggregates of a run as a JSON document."""
    return {
        "run": run.id,
        "levels": list(LEVELS),
        "aggregates": [asdict(each) for each in aggregates(group_cases(run, records))],
    }


def render_aggregates(run: RunFile, records: Sequence[Record], *, console: Console | None = None) -> None:
    """Print the aggregates of a run: memory shares by architecture, and the probabilities of improvement."""
    console, found = console or new_console(), aggregates(group_cases(run, records))
    if not found:
        print_lines([NOTHING], console)
        return
    print_lines([f"{run.plan}: {CAPTION}"], console, style="bold")
    for rows in (_shares(found), _improvements(found)):
        if len(rows) > 1:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for index, heading in enumerate(rows[0]):
                table.add_column(heading, justify="left" if index == 0 else "right")
            for row in rows[1:]:
                table.add_row(*map(Text, row))
            print_table(table, console)


def _shares(found: Sequence[Aggregate]) -> Rows:
    """Return a table whose first row is its head."""
    head = ("architecture", "runs", "IQM", "mean", *(f"> {level:.0%}" for level in LEVELS))
    return [
        head,
        *(
            (each.arch, str(each.runs), _text(each.iqm), _text(each.mean), *(f"{x.middle:.0%}" for x in each.profile))
            for each in found
        ),
    ]


def _improvements(found: Sequence[Aggregate]) -> Rows:
    """Return a table of the probability that the architecture of a row improves on that of a column."""
    if len(found) < 2:
        return [()]
    names = [each.arch for each in found]
    rows: Rows = [("P(row improves on column)", *names)]
    for each in found:
        over = dict(each.improvement)
        rows.append((each.arch, *("" if other == each.arch else f"{over[other].middle:.2f}" for other in names)))
    return rows


def _text(interval: Interval) -> str:
    return f"{interval.middle:.0%} ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def _markdown(run: RunFile, found: list[Aggregate]) -> str:
    if not found:
        return f"{NOTHING}\n"
    tables = []
    for rows in (_shares(found), _improvements(found)):
        if len(rows) > 1:
            lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
            lines.insert(1, f"| :-- |{' --: |' * (len(rows[0]) - 1)}")
            tables.append("\n".join(lines))
    return "\n\n".join([f"Run {markdown_text(run.id)}: {CAPTION}.", *tables]) + "\n"


def _csv(run: RunFile, found: list[Aggregate]) -> str:
    """Return one line per architecture and quantity, with unrounded numbers. Every text is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(("arch", "quantity", "than", "value", "low", "high", "runs"))
    for each in found:
        quantities: list[tuple[str, str, Interval]] = [("iqm", "", each.iqm), ("mean", "", each.mean)]
        quantities += [(f"runs_above_{level}", "", x) for level, x in zip(LEVELS, each.profile, strict=True)]
        quantities += [("improvement", other, x) for other, x in each.improvement]
        for quantity, other, x in quantities:
            writer.writerow([escape_cell(each.arch), quantity, escape_cell(other), x.middle, x.low, x.high, each.runs])
    return out.getvalue()


def _latex(run: RunFile, found: list[Aggregate]) -> str:
    """Return a `booktabs` table of the memory shares."""
    if not found:
        return f"% {NOTHING}\n"
    head, *rows = _shares(found)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"% run {to_ascii(run.id)}",
        "\\begin{table}[tbp]",
        "\\centering",
        f"\\caption{{Interquartile mean (IQM) and mean of {latex_text(CAPTION)}.}}",
        "\\label{tab:carousel-aggregate}",
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        "\\toprule",
        f"{' & '.join(map(latex_text, head))} \\\\",
        "\\midrule",
        *(f"{' & '.join(map(latex_text, row))} \\\\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return to_ascii("\n".join(lines)) + "\n"
