"""Format numbers and labels the same way in every table, figure and sentence."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count as count_from

GROUPED_DIGITS = r"(?<=\d,)\d{3}(?!\d)"
"""A pattern for the digits after a comma inside a number such as 8,192."""
MISSING = "—"
"""The text for a value that was not measured."""
ROUNDING = 1e-9
"""A percentage is rounded up only if it exceeds a whole number by more than this."""
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score(value: float | None, decimals: int = 3) -> str:
    """Format a score in [0, 1] with a fixed number of decimals: `0.948`. None becomes a dash."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def short_score(value: float) -> str:
    """Format a reference score with at most three decimals and no trailing zeros: `0.5`, `0.078`."""
    return f"{round(value, 3):g}"


def estimate(middle: float | None, low: float | None, high: float | None) -> str:
    """Format a score with its interval: `0.948 (0.921–0.975)`.

    The interval is left out if an end is None. A score of None becomes a dash.
    """
    if low is None or high is None:
        return score(middle)
    return f"{score(middle)} ({score(low)}–{score(high)})"


def count(value: int | None) -> str:
    """Format a whole number with thousands separators: `20,123`. None becomes a dash."""
    return MISSING if value is None else f"{value:,}"


def whole(value: float | None) -> str:
    """Format a number as a whole one with thousands separators: `40,000`. None becomes a dash."""
    return MISSING if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Format a number of bytes with a binary unit: `640 B`, `1.5 KiB`. None becomes a dash."""
    if value is None:
        return MISSING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def amount(kind: str, number: int) -> str:
    """Format the size of a model in the unit of a kind of budget.

    Examples: `20,000 parameters`, `20,000 parameters in layers`, `width 40`, `4 KiB of state`, `40,000 FLOPs per step`.
    """
    if kind == "width":
        return f"width {number:,}"
    if kind == "state":
        return f"{size(number).replace('.0 ', ' ')} of state"
    units = {"params": "parameters", "layer_params": "parameters in layers", "step_flops": "FLOPs per step"}
    return f"{number:,} {units[kind]}"


def sizes(values: Iterable[float | None]) -> str:
    """Format the range of sizes in bytes: `544–648 B`, `900 B–1.5 KiB`.

    A unit that both ends share appears once. Equal ends give a single size. Values of None are ignored. Without any
    other value, the text is a dash.
    """
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    low, high = size(min(known)), size(max(known))
    shared = low.split()[1] == high.split()[1]
    return low if low == high else f"{low.split()[0] if shared else low}–{high}"


def significant(value: float, digits: int = 3) -> str:
    """Format a number with `digits` significant digits and without an exponent: `0.0456`, `33.2`, `1,230`.

    Infinite values and NaN become a dash.
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else MISSING
    rounded, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{float(rounded) * 10 ** int(exponent):,.{max(digits - 1 - int(exponent), 0)}f}"


def rounded(value: float | None) -> str:
    """Format a number with three significant digits and without an exponent. None becomes a dash."""
    return MISSING if value is None else significant(value)


def percent(share: float | None) -> str:
    """Format a share as a percentage with two significant digits: `12%`, `0.85%`. None becomes a dash."""
    return MISSING if share is None else f"{significant(100 * share, 2)}%"


def memory_share(middle: float, high: float) -> str:
    """Format a memory share as a whole percentage: `88%`.

    A share that rounds to 0% or less only says how large it can be. So it becomes the upper end of its interval,
    rounded up: `at most 4%`.
    """
    if is_positive_share(middle):
        return f"{middle:.0%}"
    return f"at most {math.ceil(100 * max(0.0, high) - ROUNDING)}%"


def is_positive_share(middle: float) -> bool:
    """Return whether a memory share is above 0% after rounding. If not, `memory_share` shows its upper end only."""
    return round(100 * middle) > 0


def memory_share_ends(low: float, high: float) -> str:
    """Format the interval of a memory share in per cent, without what lies beyond 0 and 100: `(80–95)`."""
    return f"({100 * max(0.0, low):.0f}–{100 * min(1.0, high):.0f})"


def power_of_ten(value: float) -> str:
    """Format a positive number as the nearest power of ten: `0.01`, `1,000`, `10⁻⁶`.

    Powers from 0.01 to 1,000 have no exponent.
    """
    exponent = round(math.log10(value))
    if -3 < exponent <= 3:
        return f"{10.0**exponent:,g}"
    return "10" + str(exponent).translate(SUPERSCRIPTS)


def wrap_label(label: str, limit: int) -> str:
    """Break a label after colons, commas and spaces into lines of at most `limit` characters.

    A longer part that has no such separator is cut and ends in an ellipsis.
    """
    lines = [""]
    for part in _parts(label, ":, "):
        if lines[-1] and len(lines[-1]) + len(part.strip()) > limit:
            lines.append("")
        lines[-1] += part
    return "\n".join(shortened(line.strip(), limit) for line in lines)


def folded(text: str, limit: int) -> list[str]:
    """Break a text into printable lines of at most `limit` characters. Nothing is cut.

    Lines end after colons, commas and spaces. A longer part is broken after equals signs and underscores, or anywhere.
    A number such as 8,192 stays whole.

    >>> folded("lstm:forget_bias=1 learning_rate=0.003", 18)
    ['lstm:forget_bias=1', 'learning_rate=', '0.003']
    >>> folded("at position 8,192", 14)
    ['at position', '8,192']
    """
    lines = [""]
    for part in _parts(printable(text), ":, "):
        for piece in [part] if len(part.rstrip()) <= limit else _parts(part, "=_"):
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > limit:
                lines.append("")
            lines[-1] += piece
            while len(lines[-1].rstrip()) > limit:
                lines[-1:] = [lines[-1][:limit], lines[-1][limit:]]
    return [line.rstrip() for line in lines if line.strip()] or [""]


def _parts(text: str, ends: str) -> list[str]:
    """Divide a text after each run of the characters in `ends`, but not inside a number such as 8,192."""
    return [part for part in re.split(rf"(?<=[{ends}])(?![{ends}])(?!{GROUPED_DIGITS})", text) if part]


def microseconds(seconds: float | None) -> str:
    """Format seconds as microseconds with three significant digits and no unit. None becomes a dash."""
    return MISSING if seconds is None else significant(seconds * 1e6)


def milliseconds(seconds: float | None) -> str:
    """Format seconds as milliseconds with three significant digits and no unit. None becomes a dash."""
    return MISSING if seconds is None else significant(seconds * 1e3)


def duration(seconds: float) -> str:
    """Format a duration with three significant digits and a unit from ns to s: `1.70 µs`, `2.56 ms`."""
    for unit, size_in_seconds in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size_in_seconds:
            return f"{significant(seconds / size_in_seconds)} {unit}"
    return f"{significant(seconds * 1e9)} ns"


def plural(number: int, noun: str) -> str:
    """Format a number with its noun: `1 case`, `2 cases`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: list[str]) -> str:
    """Join one or more words into a phrase: `a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def printable(text: str) -> str:
    """Return the text as one line that a terminal prints as it is.

    Each unprintable character, such as a line break or an escape, becomes a replacement character.
    """
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def shortened(text: str, limit: int = 36) -> str:
    """Return the text as one printable line of at most `limit` characters. A cut line ends in an ellipsis."""
    line = printable(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shortened_apart(texts: Iterable[str], limit: int = 36) -> dict[str, str]:
    """Shorten texts to printable lines of at most `limit` characters, so that different texts stay different.

    Texts that would be cut to the same line keep their ends instead. If these are equal too, the lines are numbered.

    >>> shortened_apart(["lstm:forget_bias=1", "lstm:forget_bias=2"], 12)
    {'lstm:forget_bias=1': 'lstm…_bias=1', 'lstm:forget_bias=2': 'lstm…_bias=2'}
    """
    lines = {text: shortened(text, limit) for text in texts}
    for text in _ambiguous(lines):
        line = printable(text)
        head = limit // 3
        lines[text] = line if len(line) <= limit else f"{line[:head]}…{line[head + 1 - limit :]}"
    numbers, taken = count_from(1), set(lines.values())
    for text in _ambiguous(lines):
        while lines[text] in taken:
            suffix = f"…#{next(numbers)}"
            lines[text] = printable(text)[: max(0, limit - len(suffix))] + suffix
        taken.add(lines[text])
    return lines


def _ambiguous(lines: Mapping[str, str]) -> list[str]:
    """Return the texts whose line is also the line of another text."""
    counts = Counter(lines.values())
    return [text for text, line in lines.items() if counts[line] > 1]
