"""Run jobs in the processes of one version, through its driver (see `driver.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from bench.against import driver
from bench.against.version import PACKAGES, Version
from bench.errors import UsageError
from bench.executors.child_process import ErrorOutput
from bench.executors.events import Events, JobProgress, JobStarted
from bench.executors.jobs import Job, JobResult
from bench.machine.import_path import IMPORT_PATH, SAFE_PATH
from bench.plans.plan import Plan
from bench.plugins.loader import Plugin
from results import Case, Environment

MAX_SHOWN = 80
"""Number of characters that are shown of what is no reply."""
START_SECONDS = 90.0
"""Longest wait for the greeting of a driver, which imports PyTorch first. A slow disk takes half a minute for that."""
DESCRIBE_SECONDS = 600.0
"""Longest wait for the cases of a plan. Most plans take seconds, but a large one derives many widths."""
END_SECONDS = 5.0
"""Longest wait for a driver to end by itself."""
PATIENCE_SECONDS = 1.0
"""Longest wait for the end of a driver's output, once the driver has been killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a plan is in one version: its cases, the environment and the identity of the code."""

    cases: tuple[Case, ...]
    environment: Environment
    code: str
    commit: str | None
    modified: bool | None


class VersionProcess:
    """The executor of one version. It starts the version's driver, and ends it when its context is left."""

    machines = 1

    def __init__(self, version: Version, *, workers: int, memory_bytes: int | None) -> None:
        """Create an executor, whose driver starts when the context is entered.

        Args:
            version: the version to run.
            workers: number of its worker processes that train.
            memory_bytes: resident memory at which a worker process is ended; None for no limit.
        """
        self.version, self.workers, self._memory_bytes = version, workers, memory_bytes
        self.run_id = ""
        """Id of the run whose turns the version takes, the same for both versions; empty before the first job."""
        self.prepares = False
        """Whether the version can prepare a process for its next timing job. Known once its driver has started."""
        self._reader: threading.Thread | None = None
        """Thread that reads the last reply with a time limit; None before the first one."""

    def __enter__(self) -> Self:
        """Start the driver.

        Raises `UsageError` if it cannot run, if it does not answer in time, or if it writes another schema version.
        """
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603  (no shell)
                [self.version.python, str(Path(driver.__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=writing,
                env=_variables(self.version),
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches this process only, which then ends the driver
            )
        except OSError as error:
            os.close(reading)
            raise UsageError(f"{self.version.name} cannot be started: {error.strerror}; choose another base") from None
        finally:
            os.close(writing)
        try:
            self._errors = ErrorOutput(reading)
            greeting = self._reply(START_SECONDS)
            schema, self.prepares = greeting.get("schema"), bool(greeting.get("prepares"))
            if schema != driver.SCHEMA:
                raise UsageError(
                    f"{self.version.name} writes schema {schema} and this version schema {driver.SCHEMA}, so they "
                    "cannot be measured in turns; choose a version with the same schema"
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            if not self._owes_a_reply:
                with contextlib.suppress(OSError):  # the driver has ended, and has not read everything
                    stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_SECONDS)
        finally:  # also after another Ctrl-C
            if self._owes_a_reply or self._process.poll() is None:
                _kill(self._process)
            with contextlib.suppress(OSError):
                stdin.close()
        if self._reader is not None:
            self._reader.join(PATIENCE_SECONDS)
        if not self._owes_a_reply:  # closing would wait for the reader, and something else may hold the pipe open
            stdout.close()

    @property
    def _owes_a_reply(self) -> bool:
        """Whether the driver has not sent a reply that has a time limit."""
        return self._reader is not None and self._reader.is_alive()

    def describe(self, plan: Plan, *, device: str, plugins: tuple[Plugin, ...]) -> Description:
        """Return what a plan is in this version.

        Raises `UsageError` if the version cannot run it, or does not answer in time.
        """
        document = plan.model_dump(mode="json", exclude_defaults=True)
        request = {"do": "describe", "plan": document, "device": device, "plugins": driver.plugin_documents(plugins)}
        self._send(request)
        described = self._reply(DESCRIBE_SECONDS)["described"]
        try:
            return Description(
                cases=tuple(Case.model_validate_json(json.dumps(case)) for case in described["cases"]),
                environment=Environment.model_validate_json(json.dumps(described["environment"])),
                code=described["code"],
                commit=described["commit"],
                modified=described["modified"],
            )
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise UsageError(
                f"{self.version.name} describes cases that this version does not know: {field}; choose another base"
            ) from None

    def lacking(
        self, archs: Sequence[str], tasks: Sequence[str], *, plugins: tuple[Plugin, ...]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return those of some architectures and tasks that the version does not know. Raises `UsageError`."""
        documents = driver.plugin_documents(plugins)
        self._send({"do": "lacking", "archs": list(archs), "tasks": list(tasks), "plugins": documents})
        lacking = self._reply()["lacking"]
        return frozenset(lacking["archs"]), frozenset(lacking["tasks"])

    def run(self, jobs: Iterable[Job], *, timeout: float | None, fresh: bool, events: Events) -> Iterator[JobResult]:
        """Run jobs and yield their results, as `Executor.run` specifies. All jobs are read first.

        Raises `UsageError` if the version cannot run a job at all.
        """
        sent = list(jobs)
        by_keys = {tuple(case.key for case in job.cases): job for job in sent}
        documents = [driver.job_document(job) for job in sent]
        self._send(self._for_workers("run") | {"timeout": timeout, "fresh": fresh, "jobs": documents})
        while not (reply := self._reply()).get("done"):
            if "result" in reply:
                self._errors.show()
                yield driver.result_of(reply["content"], sent[reply["result"]])
            elif reply["event"] == "assigned":
                events.job_assigned(reply["worker"], by_keys[tuple(reply["keys"])])
            elif reply["event"] == "started":
                started = JobStarted(**reply["started"])
                events.job_started(replace(started, kernels_are_kept=self.version.revision is None))
            elif reply["event"] == "progressed":
                events.job_progressed(JobProgress(**reply["progressed"]))
            else:
                _report_waiting(reply, events)

    def start_preparing(self, archs: Iterable[str]) -> None:
        """Ask for the process of the next timing job, with the kernels of `archs`. Do not wait for it."""
        self._send(self._for_workers("prepare") | {"archs": sorted(archs)})

    def wait_until_prepared(self, events: Events) -> None:
        """Wait for the process. `events` receives any wait for the machine."""
        while not (reply := self._reply()).get("done"):
            _report_waiting(reply, events)

    def _for_workers(self, do: str) -> dict[str, object]:
        """Return the fields of a request that starts worker processes."""
        return {"do": do, "run": self.run_id, "workers": self.workers, "memory_bytes": self._memory_bytes}

    def _send(self, request: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the driver has ended; the next reply says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _reply(self, seconds: float | None = None) -> dict[str, Any]:
        """Return the next reply of the driver.

        Raises `UsageError` if the driver has ended, reports an error, or does not reply within so many seconds. None is
        no limit.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline() if seconds is None else self._line_within(seconds)
        if not line:
            said = self._errors.last_line() or "it ended without a message"
            raise UsageError(f"{self.version.name} cannot be measured: {said}; choose another base")
        try:
            reply: dict[str, Any] = dict(json.loads(line))
        except (ValueError, TypeError):
            raise UsageError(
                f"{self.version.name} cannot be measured: {line.strip()[:MAX_SHOWN]!r} is no reply of Carousel; choose "
                "another base"
            ) from None
        if "error" in reply:
            raise UsageError(f"{self.version.name}: {reply['error']}")
        return reply

    def _line_within(self, seconds: float) -> str:
        """Return the next line of the driver. Raises `UsageError` if there is none within so many seconds."""
        stdout = self._process.stdout
        assert stdout is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True)
        self._reader.start()
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            said = self._errors.last_line()
            raise UsageError(
                f"{self.version.name} cannot be measured: no answer within {seconds:g} seconds"
                f"{f' (its last line: {said})' if said else ''}; choose another base"
            ) from None
        self._reader.join()
        return line


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a process that leads a session, with those that it has started, as far as they are in its group."""
    with contextlib.suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _report_waiting(reply: Mapping[str, Any], events: Events) -> None:
    events.waiting_for_machine(reply["worker"], reply["work"], tuple(reply["runs"]))


def _variables(version: Version) -> dict[str, str]:
    """Return the environment variables of a driver. They differ between versions in the import path only."""
    folders = [folder for folder in os.environ.get(IMPORT_PATH, "").split(os.pathsep) if folder]
    others = [folder for folder in folders if not all((Path(folder) / package).is_dir() for package in PACKAGES)]
    path = [*([] if version.home is None else [str(version.home)]), *others]
    variables = {name: value for name, value in os.environ.items() if name != IMPORT_PATH}
    return variables | {SAFE_PATH: "1"} | ({IMPORT_PATH: os.pathsep.join(path)} if path else {})
