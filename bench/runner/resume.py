"""Find the unfinished run that a request resumes, or build the `run.json` of a new run."""

from __future__ import annotations

import contextlib
import datetime
import re
import secrets
from collections.abc import Iterator

from bench.errors import UsageError
from bench.machine.environment import environment
from bench.machine.provenance import checkout, code_digest
from bench.plans.grid import cases
from bench.plans.record_size import check_record_size
from bench.plugins.loader import digests
from bench.runner.request import Request
from results import Environment, Run, RunFile, Store, StoreError, store
from results.comparison import environment_differences, plugin_differences

FORBIDDEN_IN_ID = r"[^A-Za-z0-9_=-]+"
MAX_SHOWN_VALUES = 6
"""Maximum number of values of one field in the reason why a run is not resumed."""


class RunInUse(UsageError):
    """Error for a run that another process is writing to."""


def new_run_file(request: Request, measured_in: Environment | None = None) -> RunFile:
    """Return the `run.json` of a new run.

    `measured_in` is the environment of the dask cluster that runs the jobs; None for this machine. Raises `UsageError`
    if a case of the plan is impossible or its record is too large.
    """
    planned, created, code, commit = cases(request.plan), now(), code_digest(), checkout()
    check_record_size(request.plan, planned, request.repeat)
    timestamp = created.replace("-", "").replace(":", "").replace("T", "-")[:15]
    return RunFile(
        id=f"{timestamp}-{re.sub(FORBIDDEN_IN_ID, '_', request.plan_name)[:60]}-{secrets.token_hex(3)}",
        plan=request.plan_name,
        plan_digest=request.plan.digest(),
        command=request.command,
        code=code,
        commit=commit.commit,
        modified=commit.modified,
        plugins=digests(request.plugins),
        environment=measured_in or environment(request.device),
        cases=tuple(planned),
        probes=request.plan.measure,
        claims=request.plan.claims,
        renamed=request.plan.renamed,
        workers=request.workers,
        repeat=request.repeat,
        created=created,
    )


def find_resumable_run(request: Request, file: RunFile) -> Run | None:
    """Return the newest unfinished run with the plan, --repeat, code, plugins and environment of `file`.

    Runs in use are skipped. The result is None if there is no such run, or if `request.resume` is false.
    """
    if not request.resume:
        return None
    for run, other in _unfinished_runs(request):
        if not changes(other, file) and not is_in_use(run):
            return run
    return None


def reason_not_resumed(request: Request, file: RunFile) -> str | None:
    """Return one line that explains why the newest unfinished run of the plan named in `file` is not resumed.

    The run of `file` itself is skipped. The result is None if there is no such run, or if no difference
    prevents resuming that run.
    """
    for run, other in _unfinished_runs(request):
        if other.plan == file.plan and other.id != file.id:
            if different := changes(other, file):
                return f"not resuming run {run.id} ({'; '.join(different)}): starting a new run"
            return None
    return None


@contextlib.contextmanager
def run_lock(run: Run) -> Iterator[bool]:
    """Hold the lock of a run, and yield whether its folder has locks.

    Raises `RunInUse` if another process holds the lock.
    """
    with contextlib.ExitStack() as stack:
        try:
            has_locks = stack.enter_context(store.run_lock(run))
        except store.RunInUse:
            raise RunInUse(f"run {run.id} is in use by another process: wait, or pass --no-resume") from None
        yield has_locks


def now() -> str:
    """Return the current UTC time in the format of `run.json`, such as `2026-01-31T12:00:00Z`."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _unfinished_runs(request: Request) -> Iterator[tuple[Run, RunFile]]:
    """Yield the unfinished runs of the store with their `run.json`, newest first.

    Skip unreadable runs, and those that were measured in turns with another run, which cannot be resumed alone.
    """
    for run in reversed(Store(request.store).runs()):
        try:
            file = run.file()
        except StoreError:
            continue
        if file.finished is None and file.turns is None:
            yield run, file


def changes(old: RunFile, new: RunFile) -> list[str]:
    """Return the differences from `old` to `new` that prevent resuming `old`, one text per difference."""
    found = []
    if (old.plan_digest, old.cases, old.probes) != (new.plan_digest, new.cases, new.probes):
        found.append(f"plan changed: {', '.join(_plan_changes(old, new)) or 'settings of probes, claims or names'}")
    if old.repeat != new.repeat:
        option = "--repeat" if new.turns is None else "--pairs"
        found.append(f"{option} changed: {old.repeat} → {new.repeat}")
    if old.code != new.code:
        found.append(f"code changed: {old.code} → {new.code}")
    environments = environment_differences(old.environment, new.environment)
    for what, differences in (("plugins", plugin_differences(old, new)), ("environment", environments.all)):
        if differences:
            found.append(f"{what} changed: {', '.join(each.phrase for each in differences)}")
    return found


def _plan_changes(old: RunFile, new: RunFile) -> Iterator[str]:
    """Yield the fields of the cases and the probes whose values differ, such as `seed 0, 1 → 0, 1, 2`."""
    before, after = _values(old), _values(new)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield f"{name} {_listed(before.get(name, []))} → {_listed(after.get(name, []))}"
    if before == after and old.cases != new.cases:
        yield f"combinations of cases, {len(old.cases):,} → {len(new.cases):,}"


def _values(file: RunFile) -> dict[str, list[str]]:
    """Return the values that occur in the plan of a run, by field, in the order of the cases."""
    values: dict[str, dict[str, None]] = {"measure": dict.fromkeys(file.probes)}
    for case in file.reported_cases:
        document = case.model_dump(mode="json")
        grid = {f"tuning {name}": value for name, value in (document.pop("tuning", None) or {}).items()}
        for name, value in (document | document.pop("protocol") | grid).items():
            values.setdefault(name, {})[str(value)] = None
    return {name: list(of_field) for name, of_field in values.items()}


def _listed(values: list[str]) -> str:
    shown = ", ".join(values[:MAX_SHOWN_VALUES]) or "none"
    return shown if len(values) <= MAX_SHOWN_VALUES else f"{shown} and {len(values) - MAX_SHOWN_VALUES} more"


def is_in_use(run: Run) -> bool:
    """Return True if another process holds the lock of a run, or if the lock file cannot be written."""
    try:
        with run_lock(run):
            return False
    except (RunInUse, OSError):
        return True
