"""Run jobs with the code of one version. A driver is a process that reads requests and writes replies.

The process that measures two versions starts this file as a script, once per version, with the packages of that version
first on the import path. So both versions are measured by the same driver and by the workers of their own version. The
file imports only what every version with the same schema has.

Requests and replies are lines of JSON, on standard input and standard output. The first reply is a greeting with the
schema version, and whether the version can prepare processes. The requests are

    {"do": "describe", "plan": …, "device": …, "plugins": …}        the cases of a plan, and the environment
    {"do": "lacking", "archs": …, "tasks": …, "plugins": …}         the specs that this version does not know
    {"do": "prepare", "run": …, "archs": …, "workers": …, …}        a process for the next run; its events, then "done"
    {"do": "run", "run": …, "jobs": …, "workers": …, …}             one reply per event and per result, then "done"

A reply `{"error": …}` says in one line why a request failed. The driver ends when its standard input is closed.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any

from pydantic import ValidationError

from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import Failure, Job, JobResult, TimeJob, TimingResult, TrainingResult, TrainJob
from bench.executors.local import LocalExecutor
from bench.machine.lock import Work
from bench.plans.plan import Timing
from bench.plugins.loader import Plugin
from results import Case, Measurement, ProbeRun, Record, Span

STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR = 0, 1, 2
RUN_VARIABLE = "CAROUSEL_RUN"
"""Environment variable with the id of the run, as in `bench.machine.lock`, which older versions lack."""
SCHEMA: int = Record.model_fields["schema_version"].default
"""The schema version of this version's records."""
Document = dict[str, Any]


def job_document(job: Job) -> Document:
    """Return a job as a JSON document. Weights and plugins are text in base 64."""
    document: Document = {
        "work": job.work,
        "cases": [case.model_dump(mode="json", exclude_defaults=True) for case in job.cases],
        "probes": list(job.probes),
        "device": job.device,
        "plugins": plugin_documents(job.plugins),
    }
    if isinstance(job, TrainJob):
        return document | {"learning_rate": job.learning_rate}
    timing = job.timing.model_dump(mode="json", exclude_defaults=True)
    return document | {"weights": list(map(_text, job.weights)), "timing": timing}


def job_of(document: Document) -> Job:
    """Return the job of a document. Raises `ValueError` if this version knows no such case or setting."""
    cases = tuple(Case.model_validate_json(json.dumps(case)) for case in document["cases"])
    shared: Document = {
        "device": document["device"],
        "probes": tuple(document["probes"]),
        "plugins": plugins_of(document["plugins"]),
    }
    if document["work"] == "training":
        return TrainJob(case=cases[0], learning_rate=document["learning_rate"], **shared)
    timing = Timing.model_validate_json(json.dumps(document["timing"]))
    return TimeJob(cases=cases, weights=tuple(map(_bytes, document["weights"])), timing=timing, **shared)


def result_document(result: JobResult) -> Document:
    """Return the result of a job as a JSON document."""
    document: Document = {"worker": result.worker, "span": result.span.model_dump(mode="json")}
    content = result.result
    if isinstance(content, Failure):
        return document | {"failure": asdict(content)}
    if isinstance(content, TrainingResult):
        artifacts = {name: _text(artifact) for name, artifact in content.artifacts.items()}
        training = {"record": content.record.model_dump(mode="json"), "weights": _text(content.weights)}
        return document | {"training": training | {"artifacts": artifacts}}
    return document | {
        "timing": {
            key: {
                "measurements": [each.model_dump(mode="json") for each in timed.measurements],
                "probes": {probe: ran.model_dump(mode="json") for probe, ran in timed.probes.items()},
            }
            for key, timed in content.items()
        }
    }


def result_of(document: Document, job: Job) -> JobResult:
    """Return the result of `job` from a document. Raises `ValueError` if the document is invalid."""
    result: Any
    if "failure" in document:
        result = Failure(**document["failure"])
    elif "training" in document:
        of_training = document["training"]
        result = TrainingResult(
            record=_validated(Record, of_training["record"]),
            weights=_bytes(of_training["weights"]),
            artifacts={name: _bytes(text) for name, text in of_training["artifacts"].items()},
        )
    else:
        result = {
            key: TimingResult(
                measurements=tuple(_validated(Measurement, each) for each in timed["measurements"]),
                probes={probe: _validated(ProbeRun, ran) for probe, ran in timed["probes"].items()},
            )
            for key, timed in document["timing"].items()
        }
    return JobResult(worker=document["worker"], job=job, result=result, span=_validated(Span, document["span"]))


def plugin_documents(plugins: Sequence[Plugin]) -> list[Document]:
    """Return plugins as JSON documents."""
    return [
        {
            "name": plugin.name,
            "digest": plugin.digest,
            "module": plugin.module,
            "sources": None
            if plugin.sources is None
            else {name: _text(content) for name, content in plugin.sources.items()},
        }
        for plugin in plugins
    ]


def plugins_of(documents: Sequence[Document]) -> tuple[Plugin, ...]:
    """Return the plugins of documents."""
    return tuple(
        Plugin(
            name=each["name"],
            digest=each["digest"],
            module=each["module"],
            sources=None
            if each["sources"] is None
            else {name: _bytes(content) for name, content in each["sources"].items()},
        )
        for each in documents
    )


@functools.cache
def _code() -> str:
    """Return the digest of the code as it is at the first call, so that workers notice a later edit."""
    from bench.machine.provenance import code_digest

    return code_digest()


def describe(request: Document) -> Document:
    """Return what a plan is in this version: its cases, the environment and the identity of the code."""
    from bench.machine.environment import environment
    from bench.machine.provenance import checkout
    from bench.plans.grid import cases
    from bench.plans.plan import Plan
    from bench.plugins.loader import install

    install(plugins_of(request["plugins"]))
    planned = cases(Plan.model_validate_json(json.dumps(request["plan"])))
    commit = checkout()
    return {
        "cases": [case.model_dump(mode="json") for case in planned],
        "environment": environment(request["device"]).model_dump(mode="json"),
        "code": _code(),
        "commit": commit.commit,
        "modified": commit.modified,
    }


def lacking(request: Document) -> dict[str, list[str]]:
    """Return those of some architectures and tasks that this version does not know, or not with these options."""
    import arch
    import tasks
    from bench.plugins.loader import install
    from results.specs import Spec, UnknownName

    def lacks(spec: str, names: Sequence[str], build: Callable[[str], object]) -> bool:
        try:
            build(spec)
        except UnknownName:
            return True
        except ValueError:  # a value that an option does not take, or a plugin that is disabled and so has no name
            return Spec.parse_stored(spec).name in names
        return False

    install(plugins_of(request["plugins"]))
    return {
        "archs": [spec for spec in request["archs"] if lacks(spec, arch.names(), arch.get)],
        "tasks": [spec for spec in request["tasks"] if lacks(spec, tasks.names(), tasks.build)],
    }


class _Replies:
    """Writer of replies, which also receives the events of the jobs."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def send(self, reply: Mapping[str, object]) -> None:
        self._stream.write(json.dumps(reply) + "\n")
        self._stream.flush()

    def job_assigned(self, worker: str, job: Job) -> None:
        self.send({"event": "assigned", "worker": worker, "keys": [case.key for case in job.cases]})

    def job_started(self, event: JobStarted) -> None:
        self.send({"event": "started", "started": asdict(event)})

    def job_progressed(self, event: JobProgress) -> None:
        self.send({"event": "progressed", "progressed": asdict(event)})

    def waiting_for_machine(self, worker: str, work: Work, runs: tuple[str, ...] = ()) -> None:
        self.send({"event": "waiting", "worker": worker, "work": work, "runs": runs})


def _executor(request: Document) -> LocalExecutor:
    os.environ[RUN_VARIABLE] = request["run"]  # so that other runs can name it
    return LocalExecutor(request["workers"], memory_bytes=request["memory_bytes"], code=_code())


def _run(request: Document, replies: _Replies, executor: LocalExecutor) -> None:
    jobs = [job_of(document) for document in request["jobs"]]
    with executor:
        results = executor.run(jobs, timeout=request["timeout"], fresh=request["fresh"], events=replies)
        for result in results:
            index = next(index for index, job in enumerate(jobs) if job is result.job)
            replies.send({"result": index, "content": result_document(result)})


def _serve(requests: IO[str], replies: _Replies) -> None:
    """Reply to requests until there are no more. The process ends at once if its input is closed during a request."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in requests:
            waiting.put(line)
        os._exit(0)  # its workers end with it

    threading.Thread(target=read, daemon=True).start()
    replies.send({"schema": SCHEMA, "prepares": hasattr(LocalExecutor, "prepare")})
    prepared: LocalExecutor | None = None
    while True:
        request = json.loads(waiting.get())
        try:
            if request["do"] == "describe":
                replies.send({"described": describe(request)})
            elif request["do"] == "lacking":
                replies.send({"lacking": lacking(request)})
            elif request["do"] == "prepare":
                prepared = _executor(request)
                prepared.prepare(tuple(request["archs"]), run=request["run"], events=replies)
                replies.send({"done": True})
            else:
                executor, prepared = prepared or _executor(request), None
                _run(request, replies, executor)
                replies.send({"done": True})
        except ValidationError as error:
            first = error.errors()[0]
            replies.send({"error": f"this version does not know {'.'.join(map(str, first['loc']))}: {first['msg']}"})
        except Exception as error:  # the process that measures both versions reports it in one line
            message = str(error).strip() or type(error).__name__
            named = message if isinstance(error, ValueError) else f"{type(error).__name__}: {message}"
            replies.send({"error": named.splitlines()[0]})


def _validated(model: Any, document: Document) -> Any:
    return model.model_validate_json(json.dumps(document))


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def main() -> None:
    """Serve the requests on standard input. Whatever else is printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = os.fdopen(os.dup(STANDARD_INPUT), encoding="utf-8")
    replies = os.fdopen(os.dup(STANDARD_OUTPUT), "w", encoding="utf-8")
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), STANDARD_INPUT)
    _serve(requests, _Replies(replies))


if __name__ == "__main__":
    main()
    sys.exit(0)
