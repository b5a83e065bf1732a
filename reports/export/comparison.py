"""Two runs compared, for people: the verdict in one line, changed rows first, the rest counted."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reports.format import numbers
from reports.format.escape import in_ascii, latex_text, markdown_text, neutral
from reports.text.comparison import cells, headline, notes
from results.comparison import Comparison, MissingCase, Row

MAX_ROWS = 12
"""Rows of each verdict that the terminal shows."""
WIDE_ENOUGH = 1_000
STYLES = {"regressed": "red", "improved": "green", "inconclusive": "yellow", "not comparable": "yellow"}
SHOWN = ("regressed", "improved", "not comparable", "inconclusive")
HEADINGS = ("case", "metric", "base", "new", "change (95%)", "verdict")


def render_comparison(comparison: Comparison, *, console: Console | None = None) -> None:
    """The verdict line, the changed rows, the reasons, and how many there are of the rest."""
    console = console or Console()
    changed = bool(comparison.count("regressed"))
    console.print(Text(headline(comparison), style="bold red" if changed else "bold"), soft_wrap=True)
    console.print(Text(f"base {comparison.base.id}, new {comparison.new.id}", style="dim"), soft_wrap=True)
    kept = [row for verdict in SHOWN for row in [r for r in comparison.rows if r.verdict == verdict][:MAX_ROWS]]
    if kept:
        table = _table(kept)
        if not console.is_terminal:
            options = console.options.update(width=WIDE_ENOUGH)
            table.width = Measurement.get(console, options, table).maximum
        console.print(table, soft_wrap=not console.is_terminal)
    for reason, rows in _reasons(comparison.rows).items():
        console.print(Text(f"— {reason}: {numbers.plural(rows, 'row')}", style="yellow"), soft_wrap=True)
    said = notes(comparison)
    for line in said[:MAX_ROWS]:
        console.print(Text(f"— {numbers.shortened(line, 200)}", style="yellow"), soft_wrap=True)
    if len(said) > MAX_ROWS:
        console.print(Text(f"— and {len(said) - MAX_ROWS} more; --json has all", style="yellow"))
    if len(comparison.rows) > len(kept):
        rest = numbers.plural(len(comparison.rows) - len(kept), "further row")
        console.print(Text(f"{rest} not shown; --format csv or --json has all", style="dim"), soft_wrap=True)


def comparison_as_markdown(comparison: Comparison, *, longest: int | None = None) -> str:
    """A summary for a pull request: the verdict, changed rows, and the rest folded away.

    With `longest`, rows that would make it longer than about so many characters are counted and left out.
    """
    c = comparison
    room = _Room(longest)
    lines = [f"**{_safe(headline(c))}**", "", _safe(f"base {c.base.id}, new {c.new.id}"), ""]
    changed = [row for row in c.rows if row.verdict in ("regressed", "improved")]
    if changed:
        lines += [*room.cut(_markdown_table(changed), len(HEADINGS)), ""]
    lines += room.cut([f"- {_safe(line)}" for line in notes(c)])
    for verdict in ("not comparable", "inconclusive", "unchanged"):
        rows = [row for row in c.rows if row.verdict == verdict]
        if rows:
            title = f"{len(rows):,} {verdict}"
            table = room.cut(_markdown_table(rows), len(HEADINGS))
            lines += ["", f"<details><summary>{title}</summary>", "", *table, "", "</details>"]
    return "\n".join(lines) + "\n"


class _Room:
    """How many characters are left for lists and tables; None for as many as they take."""

    def __init__(self, characters: int | None) -> None:
        self.left = characters

    def cut(self, lines: list[str], columns: int = 0) -> list[str]:
        """The first lines, as many as there is room for, and how many there are further."""
        head = 2 if columns else 0
        kept: list[str] = []
        for line in lines:
            if self.left is not None:
                self.left -= len(line) + 1
                if self.left < 0:
                    told = f"and {len(lines) - max(head, len(kept)):,} more"
                    return (
                        [*kept, f"| {told} |{' |' * (columns - 1)}"] if len(kept) > head > 0 else [*kept[head:], told]
                    )
            kept.append(line)
        return kept


def comparison_as_csv(comparison: Comparison) -> str:
    """All rows with unrounded numbers; every text in quotes, none of it a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    names = list(Row.__dataclass_fields__)
    writer.writerow(names)
    for row in comparison.rows:
        values = asdict(row) | {
            "at": " ".join(f"{name}={value}" for name, value in row.at),
            "units": f"{row.units[0]} against {row.units[1]}",
        }
        writer.writerow(["" if values[name] is None else neutral(values[name]) for name in names])
    return out.getvalue()


def comparison_as_latex(comparison: Comparison) -> str:
    """Changed rows as a `booktabs` table, the verdict line in its caption."""
    rows = [row for row in comparison.rows if row.verdict in SHOWN]
    lines = [" & ".join(map(latex_text, cells(row))) + r" \\" for row in rows]
    text = "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{latex_text(headline(comparison))}}}",
            r"\label{tab:carousel-comparison}",
            r"\begin{tabular}{llrrrl}",
            r"\toprule",
            " & ".join(map(latex_text, HEADINGS)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
    return in_ascii(text) + "\n"


def comparison_as_document(comparison: Comparison) -> dict[str, object]:
    """Everything, for programs."""
    c = comparison
    rows = [asdict(row) | {"at": dict(row.at)} for row in c.rows]
    return {
        "headline": headline(c),
        "base": c.base.id,
        "new": c.new.id,
        "counts": {verdict: c.count(verdict) for verdict in (*SHOWN, "unchanged")},  # type: ignore[arg-type]
        "differences": [asdict(one) for one in c.differences],
        "reported_differences": [asdict(one) for one in c.reported_differences],
        "allowed": [asdict(one) for one in c.allowed],
        "missing": [_loss(one) for one in c.missing],
        "failed": [_loss(one) for one in c.failed],
        "failed_in_base": [_loss(one) for one in c.failed_in_base],
        "added": c.added,
        "not_requested": list(c.not_requested),
        "rows": rows,
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("case, metric", overflow="ellipsis", ratio=1)
    for heading in ("base", "new", "change (95%)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for verdict in SHOWN:
        ones = [row for row in rows if row.verdict == verdict]
        if ones:
            table.add_section()
            table.add_row(Text(verdict, style=f"bold {STYLES[verdict]}"))
        for row in ones:
            case, metric, base, new, change, _ = cells(row)
            table.add_row(Text(f"  {numbers.shortened(case, 60)}: {metric}"), base, new, change)
    return table


def _reasons(rows: Sequence[Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        if row.reason and row.verdict in ("inconclusive", "not comparable"):
            reason = f"{row.verdict}, {row.reason}"
            found[reason] = found.get(reason, 0) + 1
    return found


def _markdown_table(rows: Sequence[Row]) -> list[str]:
    align = [":--", ":--", "--:", "--:", "--:", ":--"]
    return [_line(HEADINGS), f"| {' | '.join(align)} |", *(_line(cells(row)) for row in rows)]


def _loss(loss: MissingCase) -> dict[str, object]:
    case = loss.case
    return {"arch": case.arch, "task": case.task, "length": case.length, "seed": case.seed, "reason": loss.reason}


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(_safe, texts))} |"


def _safe(text: str) -> str:
    """As Markdown that shows it, also where a reader of HTML looks first: no bracket is left, and no control."""
    shown = markdown_text("".join(letter for letter in text if letter.isprintable() or letter.isspace()))
    return shown.replace("\\<", "&lt;").replace("\\>", "&gt;")
