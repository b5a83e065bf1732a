"""A comparison never passes if a planned case of either run has no usable record."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.commands.compare import check_run
from bench.errors import FAILED, OK
from results import Run, Store, StoreError
from tests.long_faults import Check
from tests.results.damage import changes
from tests.results.planted import grid, run_of

CASES = grid(tasks=1, seeds=2)
EVERY = 16
"""Distance between two damaged copies, in bytes of a truncation and in bits of a flip."""


def absence(folder: Path) -> str:
    """Check that each way to lose a record of the base or of the new run is named, with exit code 3."""
    store = Store(folder / "runs")
    runs = {"base": _stored(store, 1), "new": _stored(store, 2)}
    assert _check(store, runs) == (OK, {})
    tried = 0
    for side, run in runs.items():
        case = CASES[0]
        path = run.record_path(case.key)
        content = path.read_bytes()
        for what, damaged in changes(content, EVERY):
            path.write_bytes(damaged)
            code, missing = _check(store, runs)
            assert code == FAILED, f"{side}, {what}: exit code {code}"
            assert missing == {(side, case.arch, case.seed): "damaged"}, f"{side}, {what}: {missing}"
            tried += 1
        path.write_bytes(content)
        tried += _lose_each_set(store, runs, side)
        run_file = run.folder / "run.json"
        content = run_file.read_bytes()
        for what, damaged in changes(content, EVERY):
            run_file.write_bytes(damaged)
            try:
                code, _ = _check(store, runs)
            except StoreError:  # ends the command with exit code 2
                tried += 1
            else:
                raise AssertionError(f"{side}, run.json {what}: exit code {code}")
        run_file.write_bytes(content)
    assert _check(store, runs) == (OK, {})
    return f"{tried:,} damaged, deleted and unreadable files, none of which passed"


def _lose_each_set(store: Store, runs: dict[str, Run], side: str) -> int:
    """Delete each set of records, and replace each set by folders. Return the number of sets."""
    losses: dict[str, Callable[[Path], None]] = {"not run yet": Path.unlink, "unreadable": _replace_by_folder}
    tried = 0
    for state, lose in losses.items():
        for chosen in range(1, 1 << len(CASES)):
            lost = [case for index, case in enumerate(CASES) if chosen >> index & 1]
            with _restored(runs[side]):
                for case in lost:
                    lose(runs[side].record_path(case.key))
                expected = {(side, case.arch, case.seed): state for case in lost}
                assert _check(store, runs) == (FAILED, expected), f"{side}, {state}: {len(lost)} cases"
            tried += 1
    return tried


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@contextlib.contextmanager
def _restored(run: Run) -> Iterator[None]:
    kept = run.folder.parent.parent / "kept"
    shutil.copytree(run.folder, kept)
    yield
    shutil.rmtree(run.folder)
    kept.rename(run.folder)


def _stored(store: Store, draw: int) -> Run:
    file, records = run_of(CASES, draw, noise=0.02)
    run = store.create(file)
    for record in records:
        run.write(record)
    return run


def _check(store: Store, runs: dict[str, Run]) -> tuple[int, dict[tuple[str, str, int], str]]:
    """Run `check --json`, and return the exit code and the state of each missing case by run, architecture and seed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.redirect_stderr(io.StringIO()):
        code = check_run(
            store.folder,
            runs["base"].id,
            runs["new"].id,
            fail_on=None,
            strict=False,
            allow=None,
            junit=None,
            summary=None,
            as_json=True,
        )
    document = json.loads(printed.getvalue())
    assert document["exit_code"] == code
    assert document["passed"] == (code == OK)
    states = {
        (each["run"], each["arch"], each["seed"]): next(
            state for state in ("damaged", "unreadable", "not run yet") if each["reason"].startswith(state)
        )
        for each in document["missing"]
    }
    return code, states


CHECKS: dict[str, Check] = {"absence": absence}
