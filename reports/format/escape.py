"""Escape text for Markdown, LaTeX and CSV."""

from __future__ import annotations

import re

from reports.format.numbers import GROUPED_DIGITS

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""The first characters of texts that a spreadsheet may read as formulas."""
READ_AS_NUMBER = re.compile(
    r"""
    [0-9]*\.?[0-9]+[ed][0-9]+      # an exponent, even if the number is infinite
    | [0-9]+([-/:,.][0-9]+)?%?     # a date, a time, a decimal comma, a percentage
    | [0-9]+[-/:,][0-9]+[-/:,][0-9]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Texts that a spreadsheet may turn into a number or a date, besides those that Python reads as a float."""
READ_AS_MISSING = frozenset(
    ("NA", "N/A", "n/a", "NULL", "null", "None", "<NA>", "#NA", "#N/A", "#N/A N/A", "1.#IND", "1.#QNAN")
)
"""Texts that pandas reads as missing, besides those that Python reads as a float."""

BREAKABLE = ":,=_/-"
"""The signs in names after which LaTeX may break a line."""
MAX_UNBROKEN = 16
"""The largest number of characters that LaTeX may not break."""


def escape_cell(value: object) -> object:
    """Return a text with an apostrophe in front if a program may read the text as anything but text.

    Spreadsheets and `pandas.read_csv` ignore quotation marks: they would read the digest `12e4567` as infinity. Only
    another character keeps such a text. A spreadsheet may read a text as a formula if it starts with one of
    `FORMULA_STARTS`, or with spaces followed by one of them. A text that starts with an apostrophe receives another
    one, so removing one apostrophe restores every text. All other values are returned unchanged.
    """
    return f"'{value}" if isinstance(value, str) and _is_ambiguous(value) else value


def _is_ambiguous(text: str) -> bool:
    bare = text.strip()
    if text.lstrip(" ").startswith(("'", *FORMULA_STARTS)) or bare in READ_AS_MISSING:
        return True
    return READ_AS_NUMBER.fullmatch(bare) is not None or bare.lower() in ("true", "false") or _is_float(bare)


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def latex_breakable(text: str) -> str:
    """Return the text escaped as by `latex_text`, for narrow columns: LaTeX may break it after any `BREAKABLE` sign.

    A number such as 8,192 stays whole. A part of more than `MAX_UNBROKEN` characters without such a sign may be broken
    anywhere.
    """
    return " ".join(map(_breakable_word, text.split()))


def _breakable_word(word: str) -> str:
    parts = [part for part in re.split(rf"(?<=[{BREAKABLE}])(?![{BREAKABLE}])(?!{GROUPED_DIGITS})", word) if part]
    pieces = [piece for part in parts for piece in (part if len(part) > MAX_UNBROKEN else [part])]
    return r"\allowbreak{}".join(map(latex_text, pieces))


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
        "≥": r"$\geq$",
    }.items():
        text = text.replace(letter, command)
    return "".join(letter if letter in "\n\t" or " " <= letter <= "~" else f"U+{ord(letter):04X}" for letter in text)
