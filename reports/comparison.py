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

from reports import _numbers as written
from reports.exports import _in_ascii, _latex_text, _markdown_text, _neutral
from results import METRICS
from results._compare import Comparison, Row, place
from results._pairs import Loss

MOST_ROWS = 12
"""Rows of each verdict that the terminal shows."""
WIDE_ENOUGH = 1_000
STYLES = {"regressed": "red", "improved": "green", "inconclusive": "yellow", "not comparable": "yellow"}
SHOWN = ("regressed", "improved", "not comparable", "inconclusive")
HEADINGS = ("case", "metric", "base", "new", "change (95%)", "verdict")
TITLES = {
    "parameters": "parameters",
    "step_seconds": "step",
    "forward_seconds": "forward",
    "train_step_seconds": "train",
}


def headline(comparison: Comparison) -> str:
    """The whole comparison in one line."""
    c = comparison
    counts = [f"{c.count('regressed'):,} regressed", f"{c.count('improved'):,} improved"]
    counts.append(f"{c.count('inconclusive'):,} inconclusive{_settled_by(c.rows)}")
    if c.count("not comparable"):
        counts.append(f"{c.count('not comparable'):,} not comparable")
    counts.append(f"{c.count('unchanged'):,} unchanged of {written.plural(len(c.rows), 'comparison')}")
    if c.missing:
        counts.append(f"{len(c.missing):,} missing")
    if c.failed:
        counts.append(f"{len(c.failed):,} newly failed")
    return ", ".join(counts)


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know beside the rows: differences, losses, what was left out."""
    c = comparison
    lines = [f"differs: {one}" for one in c.differences]
    lines += [f"allowed to differ: {one}" for one in c.allowed]
    for name, before in c.base.plugins.items():
        if (after := c.new.plugins.get(name, before)) != before:
            lines.append(f"the plugin {name} is another version of its file: {before} against {after}")
    lines += [f"missing: {_lost(one)}" for one in c.missing]
    lines += [f"newly failed: {_lost(one)}" for one in c.failed]
    lines += [f"failed in the base already: {_lost(one)}" for one in c.failed_in_base]
    if c.added:
        lines.append(f"only in the new run: {written.plural(c.added, 'case')}")
    if c.not_asked:
        lines.append(f"not measured in the new run, nor asked for: {', '.join(c.not_asked)}")
    return lines


def render_comparison(comparison: Comparison, *, console: Console | None = None) -> None:
    """The verdict line, the changed rows, the reasons, and how many there are of the rest."""
    console = console or Console()
    changed = bool(comparison.count("regressed"))
    console.print(Text(headline(comparison), style="bold red" if changed else "bold"), soft_wrap=True)
    console.print(Text(f"base {comparison.base.id}, new {comparison.new.id}", style="dim"), soft_wrap=True)
    kept = [row for verdict in SHOWN for row in [r for r in comparison.rows if r.verdict == verdict][:MOST_ROWS]]
    if kept:
        table = _table(kept)
        if not console.is_terminal:
            options = console.options.update(width=WIDE_ENOUGH)
            table.width = Measurement.get(console, options, table).maximum
        console.print(table, soft_wrap=not console.is_terminal)
    for reason, rows in _reasons(comparison.rows).items():
        console.print(Text(f"— {reason}: {written.plural(rows, 'row')}", style="yellow"), soft_wrap=True)
    said = notes(comparison)
    for line in said[:MOST_ROWS]:
        console.print(Text(f"— {written.shortened(line, 200)}", style="yellow"), soft_wrap=True)
    if len(said) > MOST_ROWS:
        console.print(Text(f"— and {len(said) - MOST_ROWS} more; --json has all", style="yellow"))
    if len(comparison.rows) > len(kept):
        rest = written.plural(len(comparison.rows) - len(kept), "further row")
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
        writer.writerow(["" if values[name] is None else _neutral(values[name]) for name in names])
    return out.getvalue()


def comparison_as_latex(comparison: Comparison) -> str:
    """Changed rows as a `booktabs` table, the verdict line in its caption."""
    rows = [row for row in comparison.rows if row.verdict in SHOWN]
    lines = [" & ".join(map(_latex_text, cells(row))) + r" \\" for row in rows]
    text = "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{_latex_text(headline(comparison))}}}",
            r"\label{tab:carousel-comparison}",
            r"\begin{tabular}{llrrrl}",
            r"\toprule",
            " & ".join(map(_latex_text, HEADINGS)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
    return _in_ascii(text) + "\n"


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
        "allowed": [asdict(one) for one in c.allowed],
        "missing": [_loss(one) for one in c.missing],
        "failed": [_loss(one) for one in c.failed],
        "failed_in_base": [_loss(one) for one in c.failed_in_base],
        "added": c.added,
        "not_asked": list(c.not_asked),
        "rows": rows,
    }


def name_of(row: Row) -> str:
    """The row's case and metric in one line."""
    return f"{_case(row)}: {row.metric}{place(row.at)}"


def change_of(row: Row) -> str:
    """The effect with its interval, as a share or a difference: `+20.1% (+15.2 to +25.3)`."""
    if row.effect is None:
        return written.MISSING
    if row.kind == "score":
        bounds = "" if row.low is None or row.high is None else f" ({row.low:+.3f} to {row.high:+.3f})"
        return f"{row.effect:+.3f}{bounds}"
    has_bounds = row.low is not None and row.high is not None and row.low != row.high
    bounds = f" ({100 * (row.low or 0):+.1f} to {100 * (row.high or 0):+.1f})" if has_bounds else ""
    return f"{row.effect:+.1%}{bounds}"


def cells(row: Row) -> tuple[str, ...]:
    """Case, metric, base, new, change and verdict as people read them."""
    return (_case(row), _metric(row), _value(row, row.base), _value(row, row.new), change_of(row), _verdict(row))


def _case(row: Row) -> str:
    length = "" if row.length is None else f" {row.length:,}"
    return f"{row.arch} on {row.task}{length}{f', {row.condition}' if row.condition else ''}"


def _metric(row: Row) -> str:
    title = TITLES.get(row.metric) or METRICS[row.metric].title
    return f"{title}{''.join(f', {name} {value:,}' for name, value in row.at)}"


def _value(row: Row, value: float | None) -> str:
    if value is None:
        return written.MISSING
    if row.kind == "score":
        return written.score(value)
    if row.metric == "parameters":
        return f"{value:,.0f}"
    if row.kind == "size":
        return written.size(value)
    return f"{written.microseconds(value)} µs" if value < 1e-3 else f"{written.milliseconds(value)} ms"


def _verdict(row: Row) -> str:
    return f"{row.verdict}{f' ({row.reason})' if row.reason and row.verdict != 'regressed' else ''}"


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
            table.add_row(Text(f"  {written.shortened(case, 60)}: {metric}"), base, new, change)
    return table


def _reasons(rows: Sequence[Row]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        if row.reason and row.verdict in ("inconclusive", "not comparable"):
            reason = f"{row.verdict}, {row.reason}"
            found[reason] = found.get(reason, 0) + 1
    return found


def _settled_by(rows: Sequence[Row]) -> str:
    """How many further units would settle what is inconclusive: half of such rows, and all of them."""
    parts = []
    for kind, what in (("timing", "--repeat"), ("score", "--seeds")):
        needed = [row.further for row in rows if row.verdict == "inconclusive" and row.kind == kind and row.further]
        if needed:
            few, most = min(needed), max(needed)
            parts.append(f"{few:,}{f' to {most:,}' if most > few else ''} further {what}")
    return f" (settled by {' and '.join(parts)})" if parts else ""


def _markdown_table(rows: Sequence[Row]) -> list[str]:
    align = [":--", ":--", "--:", "--:", "--:", ":--"]
    return [_line(HEADINGS), f"| {' | '.join(align)} |", *(_line(cells(row)) for row in rows)]


def _lost(loss: Loss) -> str:
    return f"{loss.case.arch} on {loss.case.task} at {loss.case.length:,}, seed {loss.case.seed}: {loss.reason}"


def _loss(loss: Loss) -> dict[str, object]:
    case = loss.case
    return {"arch": case.arch, "task": case.task, "length": case.length, "seed": case.seed, "reason": loss.reason}


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(_safe, texts))} |"


def _safe(text: str) -> str:
    """As Markdown that shows it, also where a reader of HTML looks first: no bracket is left, and no control."""
    shown = _markdown_text("".join(letter for letter in text if letter.isprintable() or letter.isspace()))
    return shown.replace("\\<", "&lt;").replace("\\>", "&gt;")
