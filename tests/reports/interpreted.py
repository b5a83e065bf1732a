"""A synthetic run with the compiled architecture `gru` and its interpreted twin `mine`, whose calls are cheap."""

from __future__ import annotations

from results import Measurement, Record, RunFile
from tests.reports import synthetic

CHEAP_CALL_SECONDS = 1e-6
"""Seconds of a call of `mine` at every position: less than any compiled step of the run."""


def records() -> list[Record]:
    """Return the records of `rnn`, `lstm`, `gru` and `mine` on two tasks."""
    made = []
    for case in synthetic.cases():
        if case.length != 32 or case.task == "copy_memory" or case.arch == "transformer":
            continue
        made.append(synthetic.record(case))
        if case.arch == "gru":
            made.append(_with_cheap_calls(synthetic.interpreted(synthetic.renamed(case, arch="mine"))))
    return made


def run() -> RunFile:
    return synthetic.run([record.case for record in records()])


def old_records() -> list[Record]:
    """Return the records of a run that timed only calls from Python."""
    return [synthetic.called(synthetic.record(case)) for case in synthetic.cases() if case.length == 32]


def old_run() -> RunFile:
    return synthetic.run([record.case for record in old_records()], id="20251231-120000-quick")


def _with_cheap_calls(record: Record) -> Record:
    measurements = [
        measurement.model_copy(update={"samples": (CHEAP_CALL_SECONDS,) * 20})
        if measurement.metric == "call_step_seconds"
        else measurement
        for measurement in record.measurements
    ]
    chunks = Measurement(metric="chunk_seconds", at={"position": 128, "chunk": 256}, samples=(1e-6,))
    return record.model_copy(update={"measurements": (*measurements, chunks)})
