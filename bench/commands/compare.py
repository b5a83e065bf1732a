"""`carousel compare` and `carousel check`: compare two stored runs, and check the second for regressions.

Files of pytest-benchmark take the place of runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.against.version import SAME_CODE
from bench.commands.benchmark_files import benchmark_sides, compare_files
from bench.commands.comparison_options import FailureCriterion, parse_allow, parse_fail_on, parse_renames
from bench.commands.output import (
    console_beside,
    format_by_ending,
    print_json,
    require_distinct,
    write_outputs,
)
from bench.commands.stored_run import find_two, load_run
from bench.errors import FAILED, NOT_COMPARABLE, NOTHING_SELECTED, OK, REGRESSED, UsageError
from reports.export import (
    comparison_as_csv,
    comparison_as_document,
    comparison_as_latex,
    comparison_as_markdown,
    render_comparison,
)
from reports.text import change_of, differences_in_words, headline, missing_text, name_of, witness_of
from results import RunFile, is_standard_output
from results.comparison import Comparison, Row, Thresholds, compare, renames, require_known
from results.store import reading_many

MAX_SUMMARY = 60_000
"""Approximate maximum length of a summary in characters. It leaves a margin to GitHub's limit of 65,536."""
ENDINGS = {"--junit": {".xml": "junit"}, "--summary": {".md": "markdown", ".markdown": "markdown", ".txt": "markdown"}}
"""The endings that each option for a file accepts."""
WRITERS: dict[str, Callable[[Comparison], str]] = {
    "markdown": comparison_as_markdown,
    "csv": comparison_as_csv,
    "latex": comparison_as_latex,
}


def compare_runs(
    store: Path, base: str, new: str, *, allow: str | None, rename: Sequence[str] = (), format: str
) -> int:
    """Compare two runs, print the comparison, and return the exit code. Changes do not affect the exit code.

    Args:
        store: Folder of runs.
        base: The baseline: an id, a unique prefix, `latest`, a path, or files of pytest-benchmark.
        new: The run or the files to compare with it.
        allow: Fields in which the runs may differ, separated by commas; None for no field.
        rename: New names of architectures and tasks, such as `old=new`.
        format: `table`, `json`, or a key of `WRITERS`.

    Raises `UsageError` for an unknown field in `allow`, and if `base` and `new` are the same run. Raises `StoreError`
    if a run cannot be read.
    """
    comparison = compare_named(store, base, new, thresholds=Thresholds(), allow=allow, rename=rename)
    if format == "table":
        render_comparison(comparison)
    elif format == "json":
        print_json(comparison_as_document(comparison))
    else:
        print(WRITERS[format](comparison), end="")
    if not comparison.rows:
        return NOTHING_SELECTED
    return NOT_COMPARABLE if comparison.count("not comparable") == len(comparison.rows) else OK


def check_run(
    store: Path,
    base: str,
    new: str,
    *,
    allow: str | None,
    rename: Sequence[str] = (),
    fail_on: str | None,
    strict: bool,
    junit: Path | None,
    summary: Path | None,
    as_json: bool,
) -> int:
    """Check a run against a baseline, print the verdict, and return the exit code.

    Args:
        store: Folder of runs.
        base: The baseline: an id, a unique prefix, `latest`, a path, or files of pytest-benchmark.
        new: The run or the files to check.
        allow: Fields in which the runs may differ, separated by commas; None for no field.
        rename: New names of architectures and tasks, such as `old=new`.
        fail_on: Metrics that fail the check, in the format of `parse_fail_on`; None for all metrics.
        strict: Whether inconclusive results fail the check.
        junit: File for the results as JUnit XML, or None.
        summary: File for a summary as Markdown, or None.
        as_json: Whether to print one JSON document instead of a table.

    The verdict is printed before the files are written. It goes to standard error if a file goes to standard output.

    Raises `UsageError` for an invalid `allow` or `fail_on`, and if `base` and `new` are the same run. Raises
    `UsageError` if `junit` or `summary` has an unknown ending or cannot be written, or if both are one file. Raises
    `StoreError` if a run cannot be read.
    """
    files = CheckFiles(junit=junit, summary=summary)
    files.require_distinct(as_json=as_json)
    criterion = parse_fail_on(fail_on)
    comparison = compare_named(store, base, new, thresholds=criterion.thresholds, allow=allow, rename=rename)
    return report_check(comparison, criterion, files, strict=strict, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFiles:
    """Files for the results of a check. `-` is standard output, and None means no file."""

    junit: Path | None = None
    """File for JUnit XML."""
    summary: Path | None = None
    """File for a summary as Markdown."""

    def by_option(self) -> dict[str, Path | None]:
        return {"--junit": self.junit, "--summary": self.summary}

    @property
    def use_standard_output(self) -> bool:
        return any(path is not None and is_standard_output(path) for path in self.by_option().values())

    def require_distinct(self, *, as_json: bool) -> None:
        """Raise `UsageError` if a file has an unknown ending, or if two documents would go to one file."""
        for option, path in self.by_option().items():
            format_by_ending(path, ENDINGS[option], option=option)
        require_distinct(self.by_option())
        console_beside(self.by_option(), as_json=as_json)


def report_check(
    comparison: Comparison, criterion: FailureCriterion, files: CheckFiles, *, strict: bool, as_json: bool
) -> int:
    """Print the verdict of a comparison, write the files, and return the exit code, as `check_run` does."""
    console = console_beside(files.by_option(), as_json=as_json)
    code = exit_code(comparison, criterion, strict=strict)
    try:
        print_check(comparison, criterion, code, console=console, as_json=as_json)
    finally:  # also if standard output cannot be written
        contents = {
            "--junit": lambda: junit_xml(comparison, criterion, strict=strict),
            "--summary": lambda: markdown_summary(comparison, criterion, code).encode(),
        }
        write_outputs(files.by_option(), contents)
    return code


def print_check(
    comparison: Comparison, criterion: FailureCriterion, code: int, *, console: Console, as_json: bool
) -> None:
    """Print the verdict and the comparison, or one JSON document.

    Args:
        comparison: The comparison of the base and the new run.
        criterion: The metrics that can fail the check.
        code: Exit code of the check.
        console: Console for the verdict and the table.
        as_json: Whether to print one JSON document on standard output instead.
    """
    if as_json:
        failing = [name_of(row) for row in criterion.failing(comparison)]
        unjudged = [name_of(row) for row in criterion.unjudged(comparison) if row.verdict == "regressed"]
        document = {"passed": code == OK, "exit_code": code, "failing": failing, "regressed_but_not_judged": unjudged}
        print_json(document | {"same_code": has_same_code(comparison)} | comparison_as_document(comparison))
    else:
        head = [verdict_line(comparison, criterion, code), *_remarks(comparison, criterion)]
        render_comparison(comparison, head=head, judged=criterion.metrics, console=console)


def has_same_code(comparison: Comparison) -> bool | None:
    """Return whether both runs have the same code: of Carousel, and of the plugins that both used.

    The result is None if files of a benchmark program are compared.
    """
    base, new = comparison.base, comparison.new
    if not (isinstance(base, RunFile) and isinstance(new, RunFile)):
        return None
    shared = base.plugins.keys() & new.plugins.keys()
    return base.code == new.code and all(base.plugins[name] == new.plugins[name] for name in shared)


def _remarks(comparison: Comparison, criterion: FailureCriterion) -> list[str]:
    """Return the lines below the verdict: that two versions measured in turns do not differ, and what is not judged."""
    same = [SAME_CODE] if comparison.in_turns and has_same_code(comparison) else []
    return [*same, *criterion.unjudged_in_words(comparison)]


def exit_code(comparison: Comparison, criterion: FailureCriterion, *, strict: bool) -> int:
    """Return the exit code of the first of these conditions that holds, or `OK` if none holds.

    1. A metric regressed.
    2. A case failed in the new run. Or a case or a metric is missing in either run.
    3. A result is not comparable.
    4. There are no results.
    5. `strict` is true and a result is inconclusive. This condition has the exit code of a regression.

    Only results of the metrics of `criterion` count, except for those that are missing.
    """
    verdicts = [row.verdict for row in criterion.selected(comparison)]
    if "regressed" in verdicts:
        return REGRESSED
    if comparison.missing or comparison.failed:
        return FAILED
    if "not comparable" in verdicts:
        return NOT_COMPARABLE
    if not verdicts:
        return NOTHING_SELECTED
    return REGRESSED if strict and "inconclusive" in verdicts else OK


def verdict_line(comparison: Comparison, criterion: FailureCriterion, code: int) -> str:
    """Return the first line that `carousel check` prints: the verdict for `code`, and the counts of judged results."""
    verdicts = {
        OK: "passed",
        REGRESSED: "failed",
        FAILED: "failed: cases are missing or failed",
        NOT_COMPARABLE: "not comparable",
        NOTHING_SELECTED: "nothing to compare: the two sides have no result in common that counts",
    }
    return f"{verdicts[code]}: {headline(criterion.judged(comparison))}"


def markdown_summary(comparison: Comparison, criterion: FailureCriterion, code: int) -> str:
    """Return a summary in Markdown, short enough for a pull-request comment. `code` is the exit code of the check."""
    head = [headline(criterion.judged(comparison)), *_remarks(comparison, criterion)]
    table = comparison_as_markdown(comparison, head=head, judged=criterion.metrics, longest=MAX_SUMMARY)
    return f"### Carousel check: {'passed' if code == OK else 'failed'}\n\n{table}"


def junit_xml(comparison: Comparison, criterion: FailureCriterion, *, strict: bool) -> bytes:
    """Return the results as JUnit XML, with one test case per row and per missing or failed case.

    Of the rows that `criterion` selects, the regressed ones fail, and those that are not comparable are errors.
    Inconclusive ones fail if `strict` is true. Other rows that are inconclusive or not comparable are skipped. Missing
    and failed cases are errors. The differences between the conditions of the runs, and that their versions do not
    differ, are properties of the suite.
    """
    from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

    suite = TestSuite("carousel check")
    for number, line in enumerate(differences_in_words(comparison), start=1):
        suite.add_property(f"difference {number}", _printable(line))
    if comparison.in_turns and has_same_code(comparison):
        suite.add_property("remark", SAME_CODE)
    selected = {id(row) for row in criterion.selected(comparison)}
    for row in comparison.rows:
        test = TestCase(_printable(f"{row.metric} {name_of(row)}"), _printable(_group(row)))
        parts = [f"{row.verdict}: {change_of(row)}", row.reason, witness_of(row)]
        message = _printable("; ".join(filter(None, parts)))
        counts = id(row) in selected
        if counts and (row.verdict == "regressed" or (strict and row.verdict == "inconclusive")):
            test.result = [Failure(message, row.verdict)]
        elif counts and row.verdict == "not comparable":
            test.result = [Error(message, row.verdict)]
        elif row.verdict in ("inconclusive", "not comparable"):
            test.result = [Skipped(message, row.verdict)]
        else:
            test.system_out = message
        suite.add_testcase(test)
    absent = [(missing_text(each), "missing", each.case) for each in comparison.missing]
    absent += [(each.reason, "newly failed", each.case) for each in comparison.failed]
    for message, kind, case in absent:
        name, group = (case, _module(case)) if isinstance(case, str) else (case.key, f"{case.arch}.{case.task}")
        test = TestCase(_printable(name), _printable(group))
        test.result = [Error(_printable(message), kind)]
        suite.add_testcase(test)
    document = JUnitXml("carousel")
    document.add_testsuite(suite)
    document.update_statistics()  # type: ignore[no-untyped-call]
    xml: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return xml


def compare_named(
    store: Path, base: str, new: str, *, thresholds: Thresholds, allow: str | None, rename: Sequence[str]
) -> Comparison:
    """Compare two runs of a store, or the files of pytest-benchmark that `base` and `new` name."""
    files = benchmark_sides(base, new)
    if files is None:
        return compare_stored(store, base, new, thresholds=thresholds, allow=allow, rename=rename)
    if rename:
        raise UsageError("--rename joins cases of runs, not benchmarks in files; leave it out")
    return compare_files((base, files[0]), (new, files[1]), thresholds=thresholds, allow=allow)


def compare_stored(
    store: Path, base: str, new: str, *, thresholds: Thresholds, allow: str | None, rename: Sequence[str] = ()
) -> Comparison:
    """Compare two runs of a store, as `check_run` does.

    Raises `RenameError` if names cannot be joined, or if no case has an old name of `rename`.
    """
    allowed, names = parse_allow(allow), parse_renames(rename)
    with reading_many():
        before, after = (load_run(run) for run in find_two(store, base, new))
        files = before.file, after.file
        require_known(names, [case for file in files for case in file.cases], renames(files, names))
        return compare(
            (before.file, before.records),
            (after.file, after.records),
            thresholds=thresholds,
            allow=allowed,
            unusable=(before.unusable, after.unusable),
            renamed=names,
        )


def _group(row: Row) -> str:
    return _module(row.benchmark) if row.benchmark else f"{row.arch}.{row.task}"


def _module(benchmark: str) -> str:
    """Return the file of a benchmark, such as `tests/test_fast.py` of `tests/test_fast.py::test_sum[10]`."""
    return benchmark.partition("::")[0]


def _printable(text: str) -> str:
    """Return `text` with U+FFFD in place of each character that XML cannot contain."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
