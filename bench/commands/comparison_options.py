"""The options `--fail-on`, `--allow` and `--rename` of commands that compare runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import UsageError
from reports.format import listed, plural
from reports.text import change_of, name_of
from results.comparison import (
    ALLOWABLE,
    COMPARED_AS,
    COMPARED_METRICS,
    METRIC_FAMILIES,
    Comparison,
    Row,
    Thresholds,
)

RENAME_EXAMPLES = "OLD=NEW, such as leaky=leaky_integrator or lstm:forget=coupled=cifg"
MAX_NAMED = 5
"""The largest number of regressed rows that are named although they are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCriterion:
    """The metrics that can fail a check, and the smallest effect that counts for each metric."""

    thresholds: Thresholds
    metrics: frozenset[str]

    def failing(self, comparison: Comparison) -> list[Row]:
        """Return the rows that fail the check: those of `metrics` that regressed."""
        return [row for row in self.selected(comparison) if row.verdict == "regressed"]

    def selected(self, comparison: Comparison) -> list[Row]:
        """Return the rows of `metrics`."""
        return [row for row in comparison.rows if row.metric in self.metrics]

    def judged(self, comparison: Comparison) -> Comparison:
        """Return the comparison with the rows of `metrics` only."""
        return replace(comparison, rows=tuple(self.selected(comparison)))

    def unjudged(self, comparison: Comparison) -> list[Row]:
        """Return the rows of other metrics, which never fail the check."""
        return [row for row in comparison.rows if row.metric not in self.metrics]

    def unjudged_in_words(self, comparison: Comparison) -> list[str]:
        """Return one line per regressed row that is not judged, and one on the others that are not.

        Examples: `not judged: gru on adding 32: accuracy at length 32, -0.220 (-0.250 to -0.190), regressed` and `not
        judged: 18 other comparisons of accuracy and latency, none regressed`.
        """
        rows = self.unjudged(comparison)
        if not rows:
            return []
        regressed = [row for row in rows if row.verdict == "regressed"]
        lines = [f"not judged: {name_of(row)}, {change_of(row)}, regressed" for row in regressed[:MAX_NAMED]]
        if len(regressed) > MAX_NAMED:
            lines.append(f"not judged: {plural(len(regressed) - MAX_NAMED, 'other regressed row')}")
        others = [row for row in rows if row.verdict != "regressed"]
        if others:
            families = dict.fromkeys(COMPARED_METRICS[row.metric].family or row.metric for row in others)
            other = "other comparison" if regressed else "comparison"
            lines.append(f"not judged: {plural(len(others), other)} of {listed(list(families))}, none regressed")
        return lines


def parse_fail_on(text: str | None) -> FailureCriterion:
    """Parse a value such as `accuracy:-0.02,streaming:10%`. Raises `UsageError` if the value is invalid.

    Metrics that `text` does not name are shown but never fail a check. If `text` is None, every metric can fail the
    check.
    """
    if text is None:
        return FailureCriterion(thresholds=Thresholds(), metrics=frozenset(COMPARED_AS))
    by_metric: dict[str, float] = {}
    metrics: set[str] = set()
    for part in text.split(","):
        name, colon, effect = (piece.strip() for piece in part.partition(":"))
        if name not in METRIC_FAMILIES:
            raise UsageError(f"--fail-on: unknown metric {name!r}; choose from {', '.join(METRIC_FAMILIES)}")
        for metric in METRIC_FAMILIES[name]:
            metrics.add(metric)
            if colon:
                by_metric[metric] = _threshold(name, effect, COMPARED_AS[metric])
    return FailureCriterion(thresholds=Thresholds(by_metric=by_metric), metrics=frozenset(metrics))


def parse_allow(text: str | None, fields: Sequence[str] = ALLOWABLE) -> frozenset[str]:
    """Parse a comma-separated list of `fields`, in which `-` stands for a space. If `text` is None, return no field.

    Raises `UsageError` for an unknown field.
    """
    if text is None:
        return frozenset()
    known = {_plain(field): field for field in fields}
    for name in map(str.strip, text.split(",")):
        if _plain(name) not in known:
            choices = ", ".join(field.replace(" ", "-") for field in fields)
            raise UsageError(f"--allow: unknown field {name!r}; choose from {choices}")
    return frozenset(known[_plain(name)] for name in map(str.strip, text.split(",")))


def parse_renames(texts: Sequence[str]) -> dict[str, str]:
    """Return new names by old names. Each text is `OLD=NEW`, of names or of specs with options.

    Raises `UsageError` if a text has no such form, or if an old name has two new ones.
    """
    names: dict[str, str] = {}
    for text in texts:
        ends = [index for index, sign in enumerate(text) if sign == "="]
        found = [(text[:end].strip(), text[end + 1 :].strip()) for end in ends]
        valid = [(old, new) for old, new in found if _is_spec(old) and _is_spec(new)]
        if len(valid) != 1:
            raise UsageError(f"--rename takes {RENAME_EXAMPLES}, not {text!r}")
        ((old, new),) = valid
        if names.setdefault(old, new) != new:
            raise UsageError(f"--rename gives {old!r} two new names, {names[old]!r} and {new!r}; give one")
    return names


def _threshold(name: str, text: str, kind: str) -> float:
    is_percentage = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise UsageError(
            f"--fail-on: the effect of {name} must be a number, as in accuracy:-0.02 or streaming:10%, not {text!r}"
        ) from None
    if kind == "score":
        if is_percentage or not -1 <= value <= 1 or text.startswith("+"):
            raise UsageError(f"--fail-on: the effect of {name} must be a loss of score, such as -0.02, not {text!r}")
        return abs(value)
    if not is_percentage or not 0 <= value <= 10_000:
        raise UsageError(f"--fail-on: the effect of {name} must be an increase in percent, such as 10%, not {text!r}")
    return value / 100


def _plain(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _is_spec(text: str) -> bool:
    """Return whether a text is a name, or a name with options that have one value each."""
    name, colon, options = text.partition(":")
    items = options.split(",") if colon else []
    return bool(name) and "=" not in name and all(item.count("=") == 1 and item.strip("=") for item in items)
