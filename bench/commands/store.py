"""What the commands that look after a store do: merge, export, verify, history."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

import reports
from bench.commands.output import print_json, write_output
from bench.commands.stored_run import read_run
from bench.errors import FAILED, OK, UsageError
from results import (
    Flaw,
    Store,
    clean,
    merge,
    verify,
)

Format = Literal["csv", "parquet", "pytest-benchmark"]


def merge_stores(sources: Sequence[Path], store: Path, *, as_json: bool) -> int:
    """Merge, and say what was copied, what conflicts, and what was left out."""
    merged = merge(list(sources), Store(store))
    if as_json:
        print_json(
            {
                "copied": [str(path) for path in merged.copied],
                "same": merged.same,
                "conflicts": [{"stays": str(place), "other": str(beside)} for place, beside in merged.conflicts],
                "left_out": [_flaw(flaw) for flaw in merged.left_out],
            }
        )
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{len(merged.copied):,} files copied into {store}, {merged.same:,} were there already")
        for place, beside in merged.conflicts:
            console.print(Text(f"conflict: {place} stays as it was; the other is kept as {beside}"))
        for flaw in merged.left_out:
            console.print(Text(f"left out: {flaw.path}: {flaw.reason}"))
    return OK if merged.is_complete else FAILED


def export_run(store: Path, name: str, format: Format, output: Path | None) -> None:
    """Write a run's samples to a file, or to standard output where they are text. Raises `UsageError`."""
    file, records = read_run(Store(store).find(name))
    if format == "parquet":
        try:
            content = reports.samples_as_parquet(file, records)
        except reports.MissingLibrary as error:
            raise UsageError(str(error)) from None
        if output is None:
            raise UsageError("--format parquet is no text; say where to write it with -o FILE")
    else:
        write = {"csv": reports.samples_as_csv, "pytest-benchmark": reports.timings_as_pytest_benchmark}[format]
        text = write(file, records)
        if output is None:
            sys.stdout.write(text)
            return
        content = text.encode()
    write_output(output, content)


def verify_store(store: Path, *, tidy: bool, as_json: bool) -> int:
    """Look at every file, and name each that is not as it was written."""
    found = verify(Store(store))
    removed = clean(found.flaws) if tidy else []
    flaws = [flaw for flaw in found.flaws if flaw.path not in removed]
    if as_json:
        counted = {"runs": found.runs, "records": found.records, "artifacts": found.artifacts}
        told = {"flaws": [_flaw(flaw) for flaw in flaws], "removed": [str(path) for path in removed]}
        print_json(counted | {"sound": found.is_sound} | told)
    else:
        console = Console(highlight=False, soft_wrap=True)
        for flaw in flaws:
            console.print(Text(f"{flaw.kind}: {flaw.path}: {flaw.reason}"))
        for path in removed:
            console.print(Text(f"removed: {path}"))
        harmful = sum(not flaw.is_harmless for flaw in flaws)
        verdict = "all as they were written" if not harmful else f"{harmful:,} not as they should be"
        counts = f"{found.runs:,} runs, {found.records:,} records, {found.artifacts:,} artifacts"
        console.print(f"{counts}: {verdict}")
    return OK if found.is_sound else FAILED


def _flaw(flaw: Flaw) -> dict[str, str]:
    return {"path": str(flaw.path), "kind": flaw.kind, "reason": flaw.reason}
