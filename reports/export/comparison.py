"""The comparison of two runs, for the terminal and as Markdown, CSV and JSON."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.export.csv_text import csv_text
from reports.format import new_console, numbers, print_lines, print_table, printable
from reports.format.escape import markdown_text
from reports.text.comparison import (
    cells,
    differences_in_words,
    headline,
    name_of,
    noise_in_words,
    notes,
    witness_of,
)
from reports.text.reasons import reasons_in_words
from results import location_parts
from results.comparison import Comparison, MissingCase, Row

MAX_ROWS = 12
"""The terminal shows at most this many rows per verdict, and at most this many notes besides the differences."""
NOTE_LETTERS = 200
"""The largest length of a note on the terminal."""
NARROW = 90
"""A terminal with fewer columns gets two lines per row instead of a table."""
STYLES = {"regressed": "red", "improved": "green", "inconclusive": "yellow", "not comparable": "yellow"}
SHOWN_VERDICTS = ("regressed", "improved", "not comparable", "inconclusive")
HEADINGS = ("case", "metric", "base", "new", "change (95%)", "verdict")


def render_comparison(
    comparison: Comparison,
    *,
    head: Sequence[str] | None = None,
    judged: Collection[str] | None = None,
    console: Console | None = None,
) -> None:
    """Print the headline, rows, reasons and notes of a comparison.

    Unchanged rows are omitted. For each other verdict, at most `MAX_ROWS` rows are printed. If rows are omitted, the
    last line gives the number of omitted rows.

    Args:
        comparison: The comparison to print.
        head: The first lines, in place of the headline alone.
        judged: The metrics that are judged; None for all. The rows of others come last, under headings of their own.
            The reasons and the noise are those of judged rows.
        console: Where to print; None for standard output.
    """
    console = console or new_console()
    style = "bold red" if comparison.count("regressed") else "bold"
    first, *remarks = head or [headline(comparison)]
    print_lines([first], console, style=style)
    print_lines(remarks, console, style="yellow")
    print_lines([f"base {comparison.base.id}, new {comparison.new.id}"], console, style="dim")
    counted = _of_metrics(comparison, judged)
    print_lines([line for line in [noise_in_words(counted)] if line], console, style="dim")
    sections = list(_sections(comparison, judged))
    shown = [row for section in sections for row in section.rows]
    if shown and console.is_terminal and console.width < NARROW:
        _print_in_lines(sections, console)
    elif shown:
        print_table(_table(sections), console)
    witnesses = [f"{name_of(row)}: {text}" for row in _changed(comparison) if (text := witness_of(row))]
    print_lines([f"— {line}" for line in witnesses[:MAX_ROWS]], console)
    print_lines([f"— {line}" for line in reasons_in_words(counted)], console, style="yellow")
    differences = differences_in_words(comparison)
    print_lines([f"— {line}" for line in differences], console, style="yellow")
    lines = notes(comparison)[len(differences) :]
    short = numbers.shortened_apart(lines, NOTE_LETTERS)
    print_lines([f"— {short[line]}" for line in lines[:MAX_ROWS]], console, style="yellow")
    if len(lines) > MAX_ROWS:
        print_lines([f"— and {len(lines) - MAX_ROWS} more; see --json"], console, style="yellow")
    if len(comparison.rows) > len(shown):
        rest = numbers.plural(len(comparison.rows) - len(shown), "more row")
        command = shlex.join(["carousel", "compare", comparison.base.id, comparison.new.id, "--format", "csv"])
        print_lines([f"{rest} not shown; all are in the output of `{command}`"], console, style="dim")


def comparison_as_markdown(
    comparison: Comparison,
    *,
    head: Sequence[str] | None = None,
    judged: Collection[str] | None = None,
    longest: int | None = None,
) -> str:
    """Return a Markdown summary for a pull request.

    The summary has the headline, a table of changed rows, the notes, the reasons for which rows have no clear verdict,
    and a collapsed table per other verdict.

    Args:
        comparison: The comparison to summarise.
        head: The first lines, in place of the headline alone.
        judged: The metrics that are judged; None for all. In each table, the rows of others come last and are marked.
            The reasons and the noise are those of judged rows.
        longest: The approximate limit in characters; None for no limit. Lines beyond the limit are only counted.
    """
    c = comparison
    budget = _Budget(longest)
    first, *remarks = head or [headline(c)]
    lines = [f"**{_safe(first)}**", ""]
    if remarks:
        lines += [*budget.cut([f"- {_safe(line)}" for line in remarks]), ""]
    lines += [_safe(f"base {c.base.id}, new {c.new.id}"), ""]
    counted = _of_metrics(c, judged)
    if noise := noise_in_words(counted):
        lines += [_safe(noise), ""]
    differences = differences_in_words(c)
    if differences:
        lines += [*budget.cut([f"- {_safe(line)}" for line in differences]), ""]
    if changed := _changed(c):
        lines += [*budget.cut(_markdown_table(changed, judged), len(HEADINGS)), ""]
    lines += budget.cut([f"- {_safe(line)}" for line in [*notes(c)[len(differences) :], *reasons_in_words(counted)]])
    for verdict in ("not comparable", "inconclusive", "unchanged"):
        rows = [row for row in c.rows if row.verdict == verdict]
        if rows:
            unjudged = len(rows) - counted.count(verdict)
            title = f"{len(rows):,} {verdict}{f', {unjudged:,} of them not judged' if unjudged else ''}"
            table = budget.cut(_markdown_table(rows, judged), len(HEADINGS))
            lines += ["", f"<details><summary>{title}</summary>", "", *table, "", "</details>"]
    return "\n".join(lines) + "\n"


class _Budget:
    """A character budget that the lists and tables of one summary share.

    `left` is the number of characters left, or None without a limit.
    """

    def __init__(self, characters: int | None) -> None:
        self.left = characters

    def cut(self, lines: list[str], columns: int = 0) -> list[str]:
        """Return the leading lines that fit, and reduce the budget in place.

        If lines are omitted, the last line gives their number, not counting the head of a table. If no row of a table
        fits, its head is omitted too.

        Args:
            lines: A list, or a table whose first two lines are its head.
            columns: The number of columns of the table; 0 for a list.
        """
        head = 2 if columns else 0
        fitting: list[str] = []
        for line in lines:
            if self.left is not None:
                self.left -= len(line) + 1
                if self.left < 0:
                    rest = f"and {len(lines) - max(head, len(fitting)):,} more"
                    if len(fitting) > head > 0:
                        return [*fitting, f"| {rest} |{' |' * (columns - 1)}"]
                    return [*fitting[head:], rest]
            fitting.append(line)
        return fitting


def comparison_as_csv(comparison: Comparison) -> str:
    """Return all rows as CSV with unrounded numbers, followed by the missing and the newly failed cases.

    The verdict of such a case is `missing in base`, `missing in new` or `newly failed`. The last column has the
    differences between the conditions of the runs, which are the same in all rows. Values are spelled as in
    `reports.export.csv_text`.
    """
    names = [*Row.__dataclass_fields__, "differences"]
    differences = "; ".join(differences_in_words(comparison))
    lines: list[list[object]] = []
    for row in comparison.rows:
        values = asdict(row) | {
            "at": " ".join(f"{name}={value}" for name, value in location_parts(dict(row.at))),
            "units": f"{row.units[0]} against {row.units[1]}",
            "differences": differences,
        }
        lines.append([values[name] for name in names])
    for each in (*comparison.missing, *comparison.failed):
        case = each.case
        verdict = f"missing in {each.run}" if each in comparison.missing else "newly failed"
        known: dict[str, object] = {"verdict": verdict, "reason": each.reason}
        if isinstance(case, str):
            known["benchmark"] = case
        else:
            known |= {"arch": case.arch, "task": case.task, "length": case.length, "condition": f"seed={case.seed}"}
        lines.append([known.get(name) for name in names])
    return csv_text(names, lines)


def comparison_as_document(comparison: Comparison) -> dict[str, object]:
    """Return the whole comparison as a dictionary that can be serialised as JSON."""
    c = comparison
    rows = [asdict(row) | {"at": dict(row.at)} for row in c.rows]
    return {
        "headline": headline(c),
        "base": c.base.id,
        "new": c.new.id,
        "counts": {verdict: c.count(verdict) for verdict in (*SHOWN_VERDICTS, "unchanged")},  # type: ignore[arg-type]
        "differences": [asdict(difference) for difference in c.differences],
        "reported_differences": [asdict(difference) for difference in c.reported_differences],
        "allowed": [asdict(difference) for difference in c.allowed],
        "unknown": list(c.unknown),
        "missing": [_missing_case(case) for case in c.missing],
        "failed": [_missing_case(case) for case in c.failed],
        "failed_in_base": [_missing_case(case) for case in c.failed_in_base],
        "unfinished": [name for name, run in (("base", c.base), ("new", c.new)) if not run.finished],
        "at_floor": [
            {"arch": each.case.arch, "task": each.case.task, "length": each.length}
            | {"score": each.score, "floor": each.floor}
            for each in c.at_floor
        ],
        "added": c.added,
        "added_cases": [
            {"arch": each.arch, "task": each.task, "length": each.length, "seed": each.seed} for each in c.added_cases
        ],
        "added_metrics": list(c.added_metrics),
        "not_requested": list(c.not_requested),
        "rows": rows,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """The rows under one heading on the terminal."""

    heading: str
    style: str
    rows: Sequence[Row]


def _sections(comparison: Comparison, judged: Collection[str] | None) -> Iterator[_Section]:
    """Yield at most `MAX_ROWS` rows per shown verdict: first those of judged metrics, then those of others."""
    for is_judged in (True, False):
        for verdict in SHOWN_VERDICTS:
            rows = [row for row in comparison.rows if row.verdict == verdict and _is_judged(row, judged) == is_judged]
            if rows:
                heading = verdict if is_judged else f"{verdict}, not judged"
                yield _Section(heading=heading, style=STYLES[verdict], rows=rows[:MAX_ROWS])


def _is_judged(row: Row, judged: Collection[str] | None) -> bool:
    return judged is None or row.metric in judged


def _of_metrics(comparison: Comparison, judged: Collection[str] | None) -> Comparison:
    """Return the comparison with the rows of judged metrics only."""
    return replace(comparison, rows=tuple(row for row in comparison.rows if _is_judged(row, judged)))


def _table(sections: Sequence[_Section]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("case, metric", overflow="fold", ratio=1)
    for heading in ("base", "new", "change (95%)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for section in sections:
        table.add_section()
        table.add_row(Text(section.heading, style=f"bold {section.style}"))
        for row in section.rows:
            case, metric, base, new, change, _ = cells(row)
            table.add_row(Text(printable(f"  {case}: {metric}")), *map(Text, (base, new, change)))
    return table


def _print_in_lines(sections: Sequence[_Section], console: Console) -> None:
    """Print two lines per row, under the heading of its section: the case with the metric, and the numbers."""
    for section in sections:
        print_lines([section.heading], console, style=f"bold {section.style}")
        for row in section.rows:
            case, metric, base, new, change, _ = cells(row)
            print_lines([f"  {case}: {metric}", f"    {base} → {new}, change {change}"], console)


def _changed(comparison: Comparison) -> list[Row]:
    return [row for row in comparison.rows if row.verdict in ("regressed", "improved")]


def _markdown_table(rows: Sequence[Row], judged: Collection[str] | None) -> list[str]:
    """Return a table of rows, those that are not judged last and marked as such."""
    align = [":--", ":--", "--:", "--:", "--:", ":--"]
    lines = [_line(HEADINGS), f"| {' | '.join(align)} |"]
    for row in sorted(rows, key=lambda row: not _is_judged(row, judged)):
        *others, verdict = cells(row)
        lines.append(_line([*others, verdict if _is_judged(row, judged) else f"not judged: {verdict}"]))
    return lines


def _missing_case(missing: MissingCase) -> dict[str, object]:
    case = missing.case
    if isinstance(case, str):
        return {"benchmark": case, "run": missing.run, "reason": missing.reason}
    place = {"arch": case.arch, "task": case.task, "length": case.length, "seed": case.seed}
    tuned = {} if case.is_reported else {"tuning_of_learning_rate": case.protocol.learning_rate}
    return place | tuned | {"run": missing.run, "reason": missing.reason}


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(map(_safe, texts))} |"


def _safe(text: str) -> str:
    """Return the text escaped for Markdown.

    Angle brackets become HTML entities, because GitHub may read them as HTML. Unprintable characters are removed,
    except for whitespace.
    """
    shown = markdown_text("".join(character for character in text if character.isprintable() or character.isspace()))
    return shown.replace("\\<", "&lt;").replace("\\>", "&gt;")
