"""The comparison of two runs as a LaTeX table that may be longer than a page."""

from __future__ import annotations

from collections.abc import Sequence

from reports.export.comparison import SHOWN_VERDICTS
from reports.format.escape import latex_breakable, latex_text, to_ascii
from reports.text.comparison import absent_cells, cells, differences_in_words, headline, witness_of
from results.comparison import Comparison, Row

COLUMNS = r"@{}>{\raggedright\arraybackslash}p{0.44\linewidth}rrr@{}"
"""The column of cases breaks lines. The others are as wide as their numbers, which fit beside it."""
CELLS = 4
HEADINGS = ("case", "base", "new", "change (95\\%)")


def comparison_as_latex(comparison: Comparison) -> str:
    """Return all rows except the unchanged ones as a LaTeX `longtable`, with the headline as caption.

    Rows are grouped by verdict. Missing and newly failed cases follow, and then the differences between the conditions
    of the runs. The ids of the runs are comments.
    """
    lines = [
        r"% needs \usepackage{array,booktabs,longtable}",
        f"% base {_one_line(comparison.base.id)}",
        f"% new {_one_line(comparison.new.id)}",
        r"\begingroup\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{longtable}}{{{COLUMNS}}}",
        rf"\caption{{{_caption(comparison)}}}\label{{tab:carousel-comparison}}\\",
        *_head(),
        r"\endfirsthead",
        rf"\multicolumn{{{CELLS}}}{{@{{}}l}}{{\emph{{continued}}}} \\",
        *_head(),
        r"\endhead",
        r"\bottomrule",
        r"\endlastfoot",
    ]
    for verdict in SHOWN_VERDICTS:
        rows = [row for row in comparison.rows if row.verdict == verdict]
        lines += _group(verdict, [_row(row) for row in rows])
    absent = [(name, text) for name, *_, text in absent_cells(comparison)]
    lines += _group("missing or failed", [_wide(f"{name}: {text}") for name, text in absent])
    lines += _group("differences", [_wide(line) for line in differences_in_words(comparison)])
    return to_ascii("\n".join([*lines, r"\end{longtable}", r"\endgroup"])) + "\n"


def _caption(comparison: Comparison) -> str:
    return (
        f"Run {latex_breakable(comparison.new.id)} compared with the baseline {latex_breakable(comparison.base.id)}: "
        f"{latex_text(headline(comparison))}."
    )


def _head() -> list[str]:
    return [r"\toprule", " & ".join(HEADINGS) + r" \\", r"\midrule"]


def _group(title: str, rows: Sequence[str]) -> list[str]:
    """Return the rows below their title, which stays on the page of the first row. Return nothing without rows."""
    if not rows:
        return []
    return [rf"\multicolumn{{{CELLS}}}{{@{{}}l}}{{\textbf{{{latex_text(title)}}}}} \\*", *rows]


def _row(row: Row) -> str:
    """Return a row. The reason of its verdict, and what witnesses say, stand below the case."""
    case, metric, base, new, change, _ = cells(row)
    remarks = [latex_breakable(text) for text in (row.reason, witness_of(row)) if text]
    first = f"{latex_breakable(f'{case}: {metric}')}{''.join(f'. {remark}' for remark in remarks)}"
    return " & ".join([first, *map(latex_text, (base, new, change))]) + r" \\"


def _wide(text: str) -> str:
    """Return a row with one cell that is as wide as the table and breaks lines."""
    column = r"@{}>{\raggedright\arraybackslash}p{\linewidth}@{}"
    return rf"\multicolumn{{{CELLS}}}{{{column}}}{{{latex_breakable(text)}}} \\"


def _one_line(text: str) -> str:
    return " ".join(text.split())
