"""Escape text for Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The first characters of texts that a spreadsheet may read as formulas."""


def escape_formula(value: object) -> object:
    """Return a text with an apostrophe in front if a spreadsheet may read the text as a formula.

    Such a text starts with one of `FORMULA_STARTS`, or with spaces followed by one of them. All other values are
    returned unchanged.
    """
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA_STARTS) else value


def markdown_text(text: str) -> str:
    """Return the text as one line, escaped for Markdown. Runs of whitespace become single spaces.

    An underscore between letters or digits is not escaped, because it has no meaning there. Dollars are escaped,
    because GitHub sets text between dollars as formulas.
    """
    return re.sub(r"([\\`*\[\]<>|#~!&$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def latex_text(text: str) -> str:
    """Return the text as one line, escaped for LaTeX. Runs of whitespace become single spaces."""
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    escapes |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    line = " ".join(text.split())
    guard = "{}" if line.startswith(("[", "*")) else ""  # after a line break, LaTeX would read an argument
    return guard + "".join(escapes.get(letter, letter) for letter in line)


def to_ascii(text: str) -> str:
    """Return the text in printable ASCII. All other characters become LaTeX code or a code point, such as `U+6A21`.

    Only a few punctuation marks and symbols become LaTeX code. Newlines and tabs are kept.
    """
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
