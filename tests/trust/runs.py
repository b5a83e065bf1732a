"""Comparison of processes with the code of `carousel compare`.

Each side of a comparison becomes a run. The units of a run are its fresh processes. The value of a process is the
logarithm of its median sample: see `results.comparison.units`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from bench.machine.environment import environment
from results import Environment, Interval, Record, RunFile
from results.comparison.compare import compare
from results.comparison.rows import Row
from results.statistics.intervals import LEVEL
from results.statistics.permutation import shift
from tests.trust.processes import Process, label
from tests.trust.subject import CASE


def compare_processes(base: Sequence[Process], new: Sequence[Process]) -> dict[str, Row]:
    """Compare two sets of processes, and return a row with effect and verdict for each timing, by its label."""
    rows = {label(row.metric, dict(row.at)): row for row in compare(_run_of(base), _run_of(new)).rows}
    return {name: rows[name] for name in base[0].timings()}


def ratio_interval(base: Sequence[float], new: Sequence[float], level: float = LEVEL) -> Interval:
    """Return the ratio of new to base times, with the interval that `compare` computes at `level`."""
    bounds = shift(np.log([*base, *new])[:, None], len(base), level)
    return Interval(*(math.exp(bound[0]) for bound in bounds))


def _run_of(processes: Sequence[Process]) -> tuple[RunFile, list[Record]]:
    measurements = tuple(
        measurement.model_copy(update={"process": number})
        for number, process in enumerate(processes)
        for measurement in process.measurements
    )
    record = Record(key=CASE.key, case=CASE, status="ok", measurements=measurements, repetitions=len(processes))
    file = RunFile(
        id="trust",
        plan="trust",
        plan_digest="trust",
        command="python -m tests.trust",
        code="trust",
        environment=_this_environment(),
        cases=(CASE,),
        probes=("latency", "streaming"),
        workers=1,
        repeat=len(processes),
        created="",
    )
    return file, [record]


@cache
def _this_environment() -> Environment:
    return environment("cpu", threads=1)
