"""`carousel merge`, `carousel export` and `carousel verify`: maintain a store of runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import reports
from bench.commands.output import format_by_ending, new_console, print_json, print_lines, write_output
from bench.commands.stored_run import read_run
from bench.errors import FAILED, NOTHING_SELECTED, OK, NothingSelected, UsageError
from reports.format import plural
from results import METRICS, STANDARD_OUTPUT, Flaw, Record, Store, clean, merge, verify

Format = Literal["csv", "parquet", "pytest-benchmark"]
SCORE = "accuracy"
"""The metric that tables call the score."""
MAX_PRINTED_SAMPLES = 1_000
"""The largest number of samples that are printed on a terminal unless the user asks for it with `-o -`."""
FORMATS: dict[str, Format] = {".csv": "csv", ".parquet": "parquet", ".json": "pytest-benchmark"}
"""The format of an exported file by its ending."""


def merge_stores(sources: Sequence[Path], store: Path, *, as_json: bool) -> int:
    """Merge `sources` into `store`, print the result, and return the exit code.

    If `as_json` is true, print one JSON document. Raises `StoreError` if a source has no runs or is already part of
    `store`. Raises `StoreError` if a run of `store` is in use or cannot be written.
    """
    merged = merge(list(sources), Store(store))
    if as_json:
        print_json(
            {
                "copied": [str(path) for path in merged.copied],
                "same": merged.same,
                "conflicts": [{"stays": str(path), "other": str(other)} for path, other in merged.conflicts],
                "left_out": [_document(flaw) for flaw in merged.left_out],
            }
        )
    else:
        lines = [f"{len(merged.copied):,} files copied into {store}, {merged.same:,} already there"]
        lines += [f"conflict: {path} is unchanged; the other version is {other}" for path, other in merged.conflicts]
        lines += [f"skipped: {flaw.path}: {flaw.reason}" for flaw in merged.left_out]
        print_lines(lines, new_console())
    return OK if merged.is_complete else FAILED


def export_run(store: Path, name: str, format: Format | None, output: Path | None, metrics: Sequence[str] = ()) -> None:
    """Write the samples of a run.

    Args:
        store: Folder of runs.
        name: The run: an id, a unique prefix, `latest`, or a path.
        format: `csv` or `parquet` for every sample, `pytest-benchmark` for the timings only. None chooses by the ending
            of `output`, or `csv` if there is no ending.
        output: File to write. `-` is standard output, and so is None, except for a large export on a terminal.
        metrics: Names or patterns of the metrics to write; empty for all.

    Raises `UsageError` if the file cannot be written, or its ending is unknown or contradicts `format`. Raises
    `UsageError` for `parquet` if a library is missing or `output` is None, and if more than `MAX_PRINTED_SAMPLES`
    samples would be printed on a terminal. Raises `NothingSelected` if no metric matches.
    """
    form = _format(output, format)
    if form == "parquet" and output is None:
        raise UsageError("--format parquet writes a binary file: give its path with -o FILE")
    file, records = read_run(Store(store).find(name))
    if metrics:
        records = _with_metrics(records, metrics, timings_only=form == "pytest-benchmark")
    if output is None:
        _require_few_samples(records)
    if form == "parquet":
        try:
            content = reports.samples_as_parquet(file, records)
        except reports.MissingLibrary as error:
            raise UsageError(str(error)) from None
    else:
        write = {"csv": reports.samples_as_csv, "pytest-benchmark": reports.timings_as_pytest_benchmark}[form]
        content = write(file, records).encode()
    write_output(STANDARD_OUTPUT if output is None else output, content)


def _with_metrics(records: Sequence[Record], patterns: Sequence[str], *, timings_only: bool) -> list[Record]:
    """Return the records with only the metrics whose names match any of `patterns`.

    With `timings_only`, only timings can be chosen. Raises `NothingSelected` if a pattern matches no metric.
    """
    measured = dict.fromkeys(measurement.metric for record in records for measurement in record.measurements)
    known = [name for name in measured if not timings_only or (name in METRICS and METRICS[name].kind == "timing")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            what = "timed no metric" if timings_only else "measured no metric"
            hint = f"; a score is the metric {SCORE}" if pattern == "score" and SCORE in known else ""
            raise NothingSelected(
                f"--metric: the run {what} that matches {pattern!r}{hint}; choose from {', '.join(known) or 'none'}"
            )
    chosen = {name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return [
        record.model_copy(update={"measurements": tuple(each for each in record.measurements if each.metric in chosen)})
        for record in records
    ]


def _require_few_samples(records: Sequence[Record]) -> None:
    """Raise `UsageError` if standard output is a terminal and there are too many samples to read there."""
    samples = sum(len(measurement.samples) for record in records for measurement in record.measurements)
    if samples > MAX_PRINTED_SAMPLES and sys.stdout.isatty():
        raise UsageError(
            f"{plural(samples, 'sample')} are too many for a terminal: give a file with -o FILE, choose metrics with "
            "--metric, or print them anyway with -o -"
        )


def _format(output: Path | None, given: Format | None) -> Format:
    """Return the format of an exported file: by its ending, or `given` if there is no ending."""
    by_ending = format_by_ending(output, FORMATS)
    if given is not None and by_ending not in (None, given):
        ending = next(ending for ending, known in FORMATS.items() if known == given)
        raise UsageError(
            f"-o {output} is a file for {by_ending}, not for --format {given}; choose a file that ends in {ending}, or "
            "omit --format"
        )
    return given or by_ending or "csv"


def verify_store(store: Path, *, remove_leftovers: bool, as_json: bool) -> int:
    """Check every file of a store, print each flaw, and return the exit code.

    If `remove_leftovers` is true, remove the temporary files of killed processes. If `as_json` is true, print one JSON
    document. A store without runs is not sound. Raises `StoreError` if the store is not a readable folder.
    """
    inspection = verify(Store(store))
    removed = clean(inspection.flaws) if remove_leftovers else []
    flaws = [flaw for flaw in inspection.flaws if flaw.path not in removed]
    counts = {"runs": inspection.runs, "records": inspection.records, "artifacts": inspection.artifacts}
    if as_json:
        files = {"flaws": [_document(flaw) for flaw in flaws], "removed": [str(path) for path in removed]}
        print_json(counts | {"sound": inspection.is_sound} | files)
    else:
        harmful = sum(not flaw.is_harmless for flaw in flaws)
        problems = f"{plural(harmful, 'problem')} found" if harmful else "no problems found"
        counted = ", ".join(plural(count, noun.removesuffix("s")) for noun, count in counts.items())
        lines = [f"{flaw.kind}: {flaw.path}: {flaw.reason}" for flaw in flaws]
        lines += [f"removed: {path}" for path in removed]
        lines.append(f"{counted}: {problems}" if inspection.runs else f"no runs in {store}: nothing was verified")
        print_lines(lines, new_console())
    if not inspection.runs:
        return NOTHING_SELECTED
    return OK if inspection.is_sound else FAILED


def _document(flaw: Flaw) -> dict[str, str]:
    return {"path": str(flaw.path), "kind": flaw.kind, "reason": flaw.reason}
