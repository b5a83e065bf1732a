"""Which run a request goes on with: an unfinished one of the same work, or a new one. One process writes to a run."""

from __future__ import annotations

import contextlib
import datetime
import re
import secrets
from collections.abc import Iterator

from filelock import FileLock, Timeout

from bench.errors import UsageError
from bench.machine.environment import environment
from bench.machine.provenance import checkout, code_digest
from bench.plans.grid import cases
from bench.plans.record_size import check_record_size
from bench.plugins.loader import digests
from bench.runner.request import Request
from results import Environment, Run, RunFile, Store, StoreError

NOT_IN_KEYS = r"[^A-Za-z0-9_=-]+"


def planned(request: Request, measured_in: Environment | None = None) -> RunFile:
    """The `run.json` of a new run of this request, measured here unless said. Raises `UsageError`."""
    found, created, code, at = cases(request.plan), now(), code_digest(), checkout()
    check_record_size(request.plan, found, request.repeat)
    moment = created.replace("-", "").replace(":", "").replace("T", "-")[:15]
    return RunFile(
        id=f"{moment}-{re.sub(NOT_IN_KEYS, '_', request.plan_name)[:60]}-{secrets.token_hex(3)}",
        plan=request.plan_name,
        plan_digest=request.plan.digest(),
        command=request.command,
        code=code,
        commit=at.commit,
        modified=at.modified,
        plugins=digests(request.plugins),
        environment=measured_in or environment(request.device),
        cases=tuple(found),
        probes=request.plan.measure,
        claims=request.plan.claims,
        workers=request.workers,
        repeat=request.repeat,
        created=created,
    )


def unfinished(request: Request, file: RunFile) -> Run | None:
    """The newest unfinished run of the same work, code and environment that nobody is working on."""
    if not request.resume:
        return None
    for run in reversed(Store(request.store).runs()):
        try:
            other = run.file()
        except StoreError:
            continue
        if other.finished is None and _identity(other) == _identity(file) and _is_free(run):
            return run
    return None


def reason_not_resumed(request: Request, file: RunFile) -> str | None:
    """Why the newest unfinished run of the same plan's name is not taken up, in one line; None where there is none."""
    for run in reversed(Store(request.store).runs()):
        try:
            other = run.file()
        except StoreError:
            continue
        if other.finished is None and other.plan == file.plan and other.id != file.id:
            ours, theirs = _identity(file), _identity(other)
            if different := [name for name in ours if ours[name] != theirs[name]]:
                return f"run {run.id} is unfinished, but of another {' and '.join(different)}: a new run begins"
            return None
    return None


@contextlib.contextmanager
def run_lock(run: Run) -> Iterator[None]:
    """Raises `UsageError` where another process writes to this run."""
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"another process is working on run {run.id}; wait for it, or start apart with --no-resume"
        ) from None


def now() -> str:
    """The present moment, as run files write it."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _identity(file: RunFile) -> dict[str, object]:
    """What must be equal for records of one run to belong into another, under the names that people know."""
    return {
        "plan": (file.plan_digest, file.cases, file.probes),
        "--repeat": file.repeat,
        "code": file.code,
        "version of the plugins": file.plugins,
        "environment": file.environment,
    }


def _is_free(run: Run) -> bool:
    try:
        with FileLock(run.folder / ".lock", timeout=0):
            return True
    except (Timeout, OSError):
        return False
