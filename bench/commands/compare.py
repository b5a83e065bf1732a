"""What `compare` and `check` do: two stored runs side by side, and whether the second is allowed to pass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.commands.stored_run import read_run
from bench.errors import FAILED, NOT_COMPARABLE, NOTHING_SELECTED, OK, REGRESSED, UsageError
from reports.export import (
    comparison_as_csv,
    comparison_as_document,
    comparison_as_latex,
    comparison_as_markdown,
    render_comparison,
)
from reports.text import change_of, headline, name_of
from results import Store
from results.comparison import COMPARED_AS, METRIC_FAMILIES, REQUIRED_EQUAL, Comparison, Row, Thresholds, compare
from results.store import reading_many

ALLOWABLE = (*REQUIRED_EQUAL, "timing samples", "timing blocks", "task version", "task data")
MAX_SUMMARY = 60_000
"""Characters; GitHub takes comments of 65,536."""
WRITERS: dict[str, Callable[[Comparison], str]] = {
    "markdown": comparison_as_markdown,
    "csv": comparison_as_csv,
    "latex": comparison_as_latex,
    "json": lambda comparison: json.dumps(comparison_as_document(comparison), indent=1) + "\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailOn:
    """What fails a check, and from which effect on."""

    thresholds: Thresholds
    metrics: frozenset[str]

    def failing(self, comparison: Comparison) -> list[Row]:
        return [row for row in comparison.rows if row.verdict == "regressed" and row.metric in self.metrics]


def fail_on(text: str | None) -> FailOn:
    """Reads `accuracy:-0.02,streaming:10%`: what is named fails, all else is only shown. Raises `UsageError`."""
    if text is None:
        return FailOn(thresholds=Thresholds(), metrics=frozenset(COMPARED_AS))
    by_metric: dict[str, float] = {}
    for part in text.split(","):
        name, colon, effect = (piece.strip() for piece in part.partition(":"))
        if name not in METRIC_FAMILIES:
            raise UsageError(f"--fail-on: nothing is called {name!r}; there are {', '.join(METRIC_FAMILIES)}")
        for metric in METRIC_FAMILIES[name]:
            by_metric[metric] = _threshold(name, effect, COMPARED_AS[metric]) if colon else Thresholds().of(metric)
    return FailOn(thresholds=Thresholds(by_metric=by_metric), metrics=frozenset(by_metric))


def compared(store: Path, base: str, new: str, *, thresholds: Thresholds, allow: str | None) -> Comparison:
    """Two runs of a store, or of anywhere by path, compared. Raises `UsageError`, `StoreError`."""
    allowed = _allowed(allow)
    with reading_many():
        runs = [read_run(Store(store).find(name)) for name in (base, new)]
        return compare(runs[0], runs[1], thresholds=thresholds, allow=allowed)


def show_comparison(comparison: Comparison, format: str) -> int:
    """Print it, and the exit code of `compare`: that something changed is an answer, and no failure."""
    if format == "table":
        render_comparison(comparison)
    else:
        print(WRITERS[format](comparison), end="")
    if not comparison.rows:
        return NOTHING_SELECTED
    return NOT_COMPARABLE if comparison.count("not comparable") == len(comparison.rows) else OK


def exit_code(comparison: Comparison, failing: Sequence[Row], *, strict: bool) -> int:
    """The worst that was found: a regression, then what failed or is missing, then what cannot be compared.

    What is inconclusive passes, unless `strict`: then it fails as a regression would, after all others.
    """
    if failing:
        return REGRESSED
    if comparison.missing or comparison.failed:
        return FAILED
    if comparison.count("not comparable"):
        return NOT_COMPARABLE
    if not comparison.rows:
        return NOTHING_SELECTED
    return REGRESSED if strict and comparison.count("inconclusive") else OK


def verdict_line(comparison: Comparison, code: int) -> str:
    """The first line of a check."""
    words = {
        OK: "passed",
        REGRESSED: "failed",
        FAILED: "failed: cases are missing or failed",
        NOT_COMPARABLE: "not comparable",
        NOTHING_SELECTED: "nothing to compare: no case is in both runs",
    }
    return f"{words[code]}: {headline(comparison)}"


def show_check(
    comparison: Comparison, failing: Sequence[Row], *, code: int, as_json: bool, console: Console | None = None
) -> None:
    """Print the verdict and the comparison, or one JSON document."""
    if as_json:
        document = {"passed": code == OK, "exit_code": code, "failing": [name_of(row) for row in failing]}
        print(json.dumps(document | comparison_as_document(comparison), indent=1))
        return
    console = console or Console()
    console.print(verdict_line(comparison, code), markup=False, highlight=False, soft_wrap=True)
    render_comparison(comparison, console=console)


def write_summary(comparison: Comparison, code: int, path: Path) -> None:
    """Markdown for a pull-request comment. Raises `UsageError` where it cannot be written."""
    said = comparison_as_markdown(comparison, longest=MAX_SUMMARY)
    _write(path, f"### Carousel check: {'passed' if code == OK else 'failed'}\n\n{said}")


def write_junit(comparison: Comparison, failing: Sequence[Row], path: Path, *, strict: bool) -> None:
    """One test case a row and a loss, for what reads JUnit XML. Raises `UsageError` where it cannot be written."""
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("carousel check")
    failed = {id(row) for row in failing}
    for row in comparison.rows:
        case = TestCase(_printable(f"{row.metric} {name_of(row)}"), _printable(f"{row.arch}.{row.task}"))
        said = _printable(f"{row.verdict}: {change_of(row)}{f'; {row.reason}' if row.reason else ''}")
        if id(row) in failed or (strict and row.verdict == "inconclusive"):
            case.result = [Failure(said, row.verdict)]
        elif row.verdict == "not comparable":
            case.result = [Error(said, row.verdict)]
        elif row.verdict == "inconclusive":
            case.result = [Skipped(said, row.verdict)]
        else:
            case.system_out = said
        suite.add_testcase(case)
    for loss in (*comparison.missing, *comparison.failed):
        case = TestCase(_printable(loss.case.key), _printable(f"{loss.case.arch}.{loss.case.task}"))
        case.result = [Error(_printable(loss.reason), "missing or failed")]
        suite.add_testcase(case)
    document = JUnitXml("carousel")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    _write(path, document.tostring().decode())  # type: ignore[no-untyped-call]


def _threshold(name: str, text: str, kind: str) -> float:
    is_share = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise UsageError(f"--fail-on: {name}:{text} is no number, such as accuracy:-0.02 or streaming:10%") from None
    if kind == "score":
        if is_share or not -1 <= value <= 1 or text.startswith("+"):
            raise UsageError(f"--fail-on: {name} takes a loss of score between 0 and 1, such as -0.02, not {text}")
        return abs(value)
    if not is_share or not 0 <= value <= 10_000:
        raise UsageError(f"--fail-on: {name} takes an increase in per cent, such as 10%, not {text}")
    return value / 100


def _allowed(text: str | None) -> frozenset[str]:
    """Fields that may differ; words may be joined by `-`. Raises `UsageError`."""
    if text is None:
        return frozenset()
    wanted = [name.strip().replace("-", " ") for name in text.split(",")]
    for name in wanted:
        if name not in ALLOWABLE and not name.startswith("protocol "):
            known = ", ".join(field.replace(" ", "-") for field in ALLOWABLE)
            raise UsageError(f"--allow: no field {name!r}; there are {known} and protocol-FIELD")
    return frozenset(wanted)


def _printable(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; give another file") from None
