"""How numbers are written: the same way in every table, figure and sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

MISSING = "—"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score(value: float | None, decimals: int = 3) -> str:
    """A score in [0, 1]."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def short_score(value: float) -> str:
    """A line that scores are held against, without idle zeros: `0.5`, `0.078`."""
    return f"{round(value, 3):g}"


def estimate(middle: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval, where it has one: `0.948 (0.921–0.975)`."""
    if low is None or high is None:
        return score(middle)
    return f"{score(middle)} ({score(low)}–{score(high)})"


def count(value: int | None) -> str:
    """`20,123`."""
    return MISSING if value is None else f"{value:,}"


def size(value: float | None) -> str:
    """Bytes in powers of 1024: `1.5 KiB`."""
    if value is None:
        return MISSING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:,.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def sizes(values: Iterable[float | None]) -> str:
    """Bytes from the least to the most, the unit once where both share it: `544–648 B`, `0.9–1.5 KiB`."""
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    low, high = size(min(known)), size(max(known))
    shared = low.split()[1] == high.split()[1]
    return low if low == high else f"{low.split()[0] if shared else low}–{high}"


def significant(value: float, digits: int = 3) -> str:
    """Rounded to `digits` significant digits, never in the form 1e+03: `0.0456`, `33.2`, `1,230`."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else MISSING
    rounded, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{float(rounded) * 10 ** int(exponent):,.{max(digits - 1 - int(exponent), 0)}f}"


def power_of_ten(value: float) -> str:
    """A whole power of ten: plain near 1, else with its exponent raised: `0.01`, `1,000`, `10⁻⁶`."""
    exponent = round(math.log10(value))
    if -3 < exponent <= 3:
        return f"{10.0**exponent:,g}"
    return "10" + str(exponent).translate(RAISED)


def wrap_label(label: str, limit: int) -> str:
    """A label in lines of at most `limit` characters, broken at its separators."""
    lines = [""]
    for part in re.findall(r"[^:, ]+[:,]? ?", label):
        if lines[-1] and len(lines[-1]) + len(part.strip()) > limit:
            lines.append("")
        lines[-1] += part
    return "\n".join(shortened(line.strip(), limit) for line in lines)


def microseconds(seconds: float | None) -> str:
    """Seconds as microseconds, three significant digits, the unit left to the column's heading."""
    return MISSING if seconds is None else significant(seconds * 1e6)


def milliseconds(seconds: float | None) -> str:
    """Seconds as milliseconds, three significant digits, the unit left to the column's heading."""
    return MISSING if seconds is None else significant(seconds * 1e3)


def plural(number: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def shortened(text: str, limit: int = 36) -> str:
    """One printable line of at most `limit` characters."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return line if len(line) <= limit else line[: limit - 1] + "…"
