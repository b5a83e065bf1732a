"""Escape text for Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes a text cell that begins with one of these for a formula."""


def neutral(value: object) -> object:
    """Keep a spreadsheet from reading a text as a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS) else value


def markdown_text(text: str) -> str:
    """Escape one line of text for Markdown."""
    return re.sub(r"([\\`*\[\]<>|#~!&])", r"\\\1", " ".join(text.split()))


def latex_text(text: str) -> str:
    """Escape one line of text for LaTeX."""
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return "".join(escapes.get(letter, letter) for letter in " ".join(text.split()))


def in_ascii(text: str) -> str:
    """Letters that an installation may have no font for are written by their number in Unicode."""
    commands = {"±": r"$\pm$", "—": "---", "–": "--", "µ": r"$\mu$", "…": r"\dots{}", "→": r"$\to$"}
    for letter, command in commands.items():
        text = text.replace(letter, command)
    return "".join(one if one in "\n\t" or " " <= one <= "~" else f"U+{ord(one):04X}" for one in text)
