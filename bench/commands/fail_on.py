"""The option `--fail-on`: which metrics can fail a check, from which effect on, and what it leaves unjudged."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.errors import UsageError
from reports.format import listed, plural
from reports.text import change_of, name_of
from results.comparison import COMPARED_AS, COMPARED_METRICS, METRIC_FAMILIES, Comparison, Row, Thresholds

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
