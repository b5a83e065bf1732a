"""Escape text for Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet may read a text as a formula if it starts with one of these characters."""


def escape_formula(value: object) -> object:
    """Put an apostrophe before texts that a spreadsheet would read as formulas. Other values are unchanged."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS) else value


def markdown_text(text: str) -> str:
    """Escape one line of text for Markdown."""
    return re.sub(r"([\\`*\[\]<>|#~!&])", r"\\\1", " ".join(text.split()))


def latex_text(text: str) -> str:
    """Escape one line of text for LaTeX."""
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(escapes.get(letter, letter) for letter in " ".join(text.split()))


def to_ascii(text: str) -> str:
    """Replace each non-ASCII letter with a LaTeX command, or with its code point if there is no command."""
    for letter, command in {
        "±": r"$\pm$",
        "—": "---",
        "–": "--",
        "µ": r"$\mu$",
        "…": r"\dots{}",
        "→": r"$\to$",
    }.items():
        text = text.replace(letter, command)
    return "".join(letter if letter in "\n\t" or " " <= letter <= "~" else f"U+{ord(letter):04X}" for letter in text)
