"""Aggregates over tasks and seeds, for the terminal and as Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reports.analysis.aggregate import LEVELS, Aggregate, aggregates
from reports.analysis.groups import Group, full_names, group_cases, specifications
from reports.export.csv_text import csv_text
from reports.export.errors import NothingToShow
from reports.export.names import latex_names_in_full, names_in_full
from reports.export.paper_layout import HEAD_LINES, LETTER_POINTS, MAX_LINES
from reports.format import new_console, plural, print_lines, print_table
from reports.format.console import MEASURING_WIDTH
from reports.format.escape import latex_breakable, latex_text, markdown_text, to_ascii
from results import Interval, Record, RunFile

CAPTION = (
    "memory shares over tasks, lengths and seeds, with 95% intervals of a stratified bootstrap, and the share of runs "
    "above each level"
)
MIN_NAME = 16
"""The width in characters to which a narrow terminal folds names."""
NAME_POINTS = 90
"""The largest width of the LaTeX column of names. Longer names are broken, so that negative intervals fit too."""
MAX_ROWS = (MAX_LINES - HEAD_LINES) // 2
"""The largest number of rows of one LaTeX table. Each name may take two lines."""
AGGREGATE_COLUMNS = ("arch", "arch_spec", "differs", "quantity", "than", "than_spec", "value", "low", "high", "runs")
"""The columns of the aggregates as CSV."""
Rows = list[tuple[str, ...]]


def aggregates_as(format: str, run: RunFile, records: Sequence[Record]) -> str:
    """Return the aggregates of a run as `markdown`, `csv` or `latex`. Raises `NothingToShow` if there are none."""
    writers: dict[str, Callable[[RunFile, list[Aggregate], Sequence[Group]], str]] = {
        "markdown": _markdown,
        "csv": _csv,
        "latex": _latex,
    }
    groups = group_cases(run, records)
    return writers[format](run, _aggregates(groups), groups)


def _aggregates(groups: Sequence[Group]) -> list[Aggregate]:
    """Return at least one aggregate. Raises `NothingToShow`, with the reason, if there is none."""
    found = aggregates(groups)
    if not found:
        seeds = max((len(group.scores()) for group in groups), default=0)
        reasons = {
            0: "this run has no scores; measure them with `carousel run PLAN --measure accuracy`",
            1: "every architecture has a single scored seed in each setting; run at least two with --seeds 2",
        }
        reason = reasons.get(seeds, "no architecture has two scored seeds in a setting that needs a memory")
        raise NothingToShow(f"nothing to aggregate: {reason}")
    return found


def aggregates_document(run: RunFile, records: Sequence[Record]) -> dict[str, object]:
    """Return the aggregates of a run as a JSON document.

    `arch_spec` is an architecture with all its options, and `differs` says in what else it differs from others.

    Raises `NothingToShow` if there are no aggregates.
    """
    groups = group_cases(run, records)
    specs, differs = specifications(groups), _differs(groups)
    return {
        "run": run.id,
        "levels": list(LEVELS),
        "aggregates": [
            {"arch": each.arch, "arch_spec": specs[each.arch], "differs": differs[each.arch]} | asdict(each)
            for each in _aggregates(groups)
        ],
    }


def render_aggregates(run: RunFile, records: Sequence[Record], *, console: Console | None = None) -> None:
    """Print the aggregates of a run: memory shares by architecture, and the probabilities of improvement.

    Raises `NothingToShow` if there are no aggregates.
    """
    console, groups = console or new_console(), group_cases(run, records)
    found = _aggregates(groups)
    print_lines([f"{run.plan}: {CAPTION}"], console, style="bold")
    for rows in (_shares(found), _numbered(_improvements(found))):
        if len(rows) > 1:
            table = _fitting(rows, console)
            print_table(table, console)
            if left_out := len(rows[0]) - len(table.columns):
                print_lines([f"{plural(left_out, 'column')} not shown; see --format csv"], console, style="dim")
    names = _of_archs(found, full_names(groups))
    print_lines([f"{label} = {full}" for label, full in names.items() if label != full], console, style="dim")


def _fitting(rows: Rows, console: Console) -> Table:
    """Return a table as wide as its content. On a narrow terminal, columns are left out from the right and names fold.

    The first column, which has the names, and the second one always stay.
    """
    columns = len(rows[0])
    names = max(len(row[0]) for row in rows)
    while True:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column(rows[0][0], overflow="fold")
        for heading in rows[0][1:columns]:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*map(Text, row[:columns]))
        width = Measurement.get(console, console.options.update(width=MEASURING_WIDTH), table).maximum
        if not console.is_terminal or columns == 2 or width - max(0, names - MIN_NAME) <= console.width:
            return table
        columns -= 1


def _numbered(rows: Rows) -> Rows:
    """Return a table whose rows and columns have the same names, with numbers in place of the names of the columns."""
    head, *body = rows
    if not body:
        return rows
    numbered = [(f"{number} {row[0]}", *row[1:]) for number, row in enumerate(body, 1)]
    return [(head[0], *(f"over {number}" for number in range(1, len(head)))), *numbered]


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
    """Return a share with its interval: `45% (40–52)`, or `-5% (-12 to 3)` if an end is negative."""
    low, high = f"{100 * interval.low:z.0f}", f"{100 * interval.high:z.0f}"
    between = " to " if low.startswith("-") or high.startswith("-") else "–"
    return f"{interval.middle:z.0%} ({low}{between}{high})"


def _markdown(run: RunFile, found: list[Aggregate], groups: Sequence[Group]) -> str:
    tables = []
    for rows in (_shares(found), _improvements(found)):
        if len(rows) > 1:
            lines = [f"| {' | '.join(map(markdown_text, row))} |" for row in rows]
            lines.insert(1, f"| :-- |{' --: |' * (len(rows[0]) - 1)}")
            tables.append("\n".join(lines))
    if names := names_in_full(_of_archs(found, full_names(groups))):
        tables.append("\n".join(["Names in full:", "", *(f"- {markdown_text(name)}" for name in names)]))
    return "\n\n".join([f"Run {markdown_text(run.id)}: {CAPTION}.", *tables]) + "\n"


def _csv(run: RunFile, found: list[Aggregate], groups: Sequence[Group]) -> str:
    """Return one line per architecture and quantity, in the spelling of `csv_text`.

    `arch` and `than` are short labels, and `arch_spec` and `than_spec` are the architectures with all options.
    `differs` says in what else `arch` differs from others of the run.
    """
    specs, differs = specifications(groups), _differs(groups)
    lines: list[tuple[object, ...]] = []
    for each in found:
        quantities: list[tuple[str, str, Interval]] = [("iqm", "", each.iqm), ("mean", "", each.mean)]
        quantities += [(f"runs_above_{level}", "", x) for level, x in zip(LEVELS, each.profile, strict=True)]
        quantities += [("improvement", other, x) for other, x in each.improvement]
        for quantity, other, x in quantities:
            names = (each.arch, specs[each.arch], differs[each.arch], quantity, other, specs.get(other, ""))
            lines.append((*names, x.middle, x.low, x.high, each.runs))
    return csv_text(AGGREGATE_COLUMNS, lines)


def _latex(run: RunFile, found: list[Aggregate], groups: Sequence[Group]) -> str:
    """Return `booktabs` tables of the memory shares that fit a one-column page.

    The first part has the means, and the second one the shares of runs above each level. Parts that do not fit one page
    are tables of their own.
    """
    head, *rows = _shares(found)
    parts = [
        _tabular([(each[0], *(each[column] for column in columns)) for each in (head, *rows[first : first + MAX_ROWS])])
        for first in range(0, len(rows), MAX_ROWS)
        for columns in ((1, 2, 3), range(4, len(head)))
    ]
    pages = ["\n\\par\\medskip\n".join(parts)] if len(rows) <= MAX_ROWS / 2 else parts
    names = latex_names_in_full(_of_archs(found, full_names(groups))).rstrip()
    label = "tab:carousel-aggregate"
    lines = ["% needs \\usepackage{array,booktabs}", f"% run {run.id}"]
    for number, page in enumerate(pages):
        caption = f"Continuation of Table~\\ref{{{label}}}."
        if number == 0:
            caption = f"Interquartile mean (IQM) and mean of {latex_text(CAPTION)}."
        lines += [
            "\\begin{table}[tbp]",
            "\\centering",
            "\\setlength{\\tabcolsep}{4pt}\\setlength{\\belowcaptionskip}{6pt}",
            f"\\caption{{{caption}}}",
            f"\\label{{{label}{f'-{number + 1}' if number else ''}}}",
            page,
            *([names] if names and len(pages) == 1 else []),
            "\\end{table}",
        ]
    return to_ascii("\n".join([*lines, *([names] if names and len(pages) > 1 else [])])) + "\n"


def _tabular(rows: Rows) -> str:
    """Return rows as LaTeX. The first one is the head. Long names in the first column are broken into lines."""
    head, *body = rows
    is_long = max(len(row[0]) for row in body) * LETTER_POINTS > NAME_POINTS
    names = f">{{\\raggedright\\arraybackslash}}p{{{NAME_POINTS}pt}}" if is_long else "l"
    lines = [
        f"\\begin{{tabular}}{{@{{}}{names}{'r' * (len(head) - 1)}@{{}}}}",
        "\\toprule",
        f"{' & '.join(map(_latex_number, head))} \\\\",
        "\\midrule",
        *(f"{' & '.join([latex_breakable(row[0]), *map(_latex_number, row[1:])])} \\\\" for row in body),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines)


def _latex_number(cell: str) -> str:
    """Return a cell of numbers. Levels and negative numbers are formulas, since fonts may lack `>` and a minus."""
    return re.sub(r"(> |-)\d+(\\%)?", lambda number: f"${number[0]}$", latex_text(cell))


def _differs(groups: Sequence[Group]) -> dict[str, str]:
    """Return in what else architectures differ, by their labels."""
    return {group.arch: group.differs for group in groups}


def _of_archs(found: Sequence[Aggregate], names: Mapping[str, str]) -> dict[str, str]:
    """Return the full names of the architectures of a table by their labels."""
    return {each.arch: names[each.arch] for each in found}
