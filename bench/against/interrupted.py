"""Resume two runs that were measured in turns and interrupted, after their last whole round of pairs.

A round is one pair of every case that is not decided yet. The processes of a pair must run side by side, and the test
looks at whole rounds. So timings after the last whole round are dropped, and measured again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.against.planned import common_keys
from bench.errors import UsageError
from bench.runner.execution import has_weights
from bench.runner.request import Request
from bench.runner.resume import changes, is_in_use
from results import TIMING_PROBES, Record, Run, RunFile, Store, StoreError

Records = dict[str, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """Two unfinished runs that belong together, base first, up to their last whole round."""

    files: tuple[RunFile, RunFile]
    records: tuple[Records, Records]
    """Records of both runs by the keys of their cases."""
    pairs: int
    """Number of whole rounds."""

    def undecided_between_looks(self) -> set[str]:
        """Return the common keys of the cases that are measured further, if no look follows the last whole round."""
        return {key for key, count in _pairs_by_key(self.files, self.records).items() if count == self.pairs}


def find_interrupted(request: Request, files: Sequence[RunFile]) -> tuple[Run, Run] | str | None:
    """Return the newest two unfinished runs with the plan, code, plugins and environment of two new ones, base first.

    Returns one line with the reason if the newest ones of the plan cannot be resumed, and None if there are none, or if
    `request.resume` is false.

    Args:
        request: what to measure.
        files: the `run.json` of both new runs, base first.
    """
    if not request.resume:
        return None
    newest: str | None = None
    for base, new in _unfinished(Store(request.store)):
        old = base.file(), new.file()
        if old[1].plan != files[1].plan or is_in_use(base) or is_in_use(new):
            continue
        different = [each for before, after in zip(old, files, strict=True) for each in changes(before, after)]
        if old[1].renamed != files[1].renamed:
            different.append("--rename changed")
        if not different:
            return base, new
        newest = newest or (
            f"not resuming runs {base.id} and {new.id} ({'; '.join(dict.fromkeys(different))}): starting anew; "
            f"`carousel check {base.id} {new.id}` judges what they have"
        )
    return newest


def _unfinished(store: Store) -> Iterator[tuple[Run, Run]]:
    """Yield pairs of unfinished runs that name each other, base first, the newest pair first."""
    unfinished: dict[str, tuple[Run, RunFile]] = {}
    for run in store.runs():
        try:
            file = run.file()
        except StoreError:
            continue
        if file.finished is None and file.turns is not None:
            unfinished[file.id] = run, file
    for run, file in reversed(unfinished.values()):
        assert file.turns is not None
        if file.turns.side == "new" and file.turns.other in unfinished:
            yield unfinished[file.turns.other][0], run


def whole_rounds(runs: tuple[Run, Run]) -> Interrupted:
    """Return two runs up to their last whole round, and store them so. The caller holds their locks.

    Raises `UsageError` if a record or the weights of a case cannot be read.
    """
    files = runs[0].file(), runs[1].file()
    read = [run.read() for run in runs]
    for run, (_, damaged) in zip(runs, read, strict=True):
        if damaged:
            raise UsageError(f"cannot resume run {run.id}: {damaged[0]}; pass --no-resume to start anew")
    records = dict(read[0][0]), dict(read[1][0])
    for run, of_run in zip(runs, records, strict=True):
        for key, record in of_run.items():
            if record.status == "ok" and not has_weights(run, record.case):
                raise UsageError(
                    f"cannot resume run {run.id}: the weights of {key} cannot be read; pass --no-resume to start anew"
                )
    counts = _pairs_by_key(files, records)
    most = max(counts.values(), default=0)
    pairs = most - 1 if most - 1 in counts.values() else most
    for run, of_run in zip(runs, records, strict=True):
        for key, record in list(of_run.items()):
            if _processes(record) <= pairs:
                continue
            if pairs == 0:
                del of_run[key]  # it is trained again, in place of a record without its first timing
            else:
                kept = tuple(each for each in record.measurements if each.process < pairs)
                of_run[key] = record.model_copy(update={"measurements": kept, "repetitions": pairs})
                run.write(of_run[key])
    return Interrupted(files=files, records=records, pairs=pairs)


def _pairs_by_key(files: tuple[RunFile, RunFile], records: tuple[Records, Records]) -> Mapping[str, int]:
    """Return the number of whole pairs of each case that both runs have trained, by its common key."""
    by_side = [
        {common[key]: _processes(record) for key, record in of_run.items() if key in common and record.status == "ok"}
        for of_run, common in zip(records, (common_keys(file, files) for file in files), strict=True)
    ]
    return {key: min(of_side[key] for of_side in by_side) for key in by_side[0].keys() & by_side[1].keys()}


def _processes(record: Record) -> int:
    """Return the number of processes that have timed a case."""
    return record.repetitions if any(probe in TIMING_PROBES for probe in record.probes) else 0
