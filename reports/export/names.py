"""Names in tables: full names of architectures and tasks below short labels, and that of the memoryless baseline."""

from __future__ import annotations

from collections.abc import Mapping

from reports.format.escape import latex_breakable

BASELINE, SHORT_BASELINE = "memoryless baseline", "memoryless"
"""The name of the memoryless baseline, and the one in its place where a table would not fit, with a note."""


def names_in_full(specifications: Mapping[str, str]) -> list[str]:
    """Return a line per label that is not the full name, such as `lstm: lstm:forget_bias=1`.

    `specifications` maps labels to full names.
    """
    return [f"{label}: {full}" for label, full in specifications.items() if label != full]


def latex_names_in_full(specifications: Mapping[str, str]) -> str:
    """Return a paragraph for the end of a LaTeX table that has the full names, or "" if all labels are full names."""
    lines = names_in_full(specifications)
    if not lines:
        return ""
    names = "; ".join(map(latex_breakable, lines))
    return latex_note(f"Names in full. {names}.")


def latex_note(text: str) -> str:
    """Return LaTeX that sets a text in small letters below a table. Outside of a float, pages may break it."""
    return f"\\par\\smallskip\n{{\\footnotesize\\raggedright\\noindent {text}\\par}}\n"
