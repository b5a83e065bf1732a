"""Processes as the two runs that `carousel compare` is given: the verdicts are those that users get, by the same code.

A side's units are its fresh processes, each the median of its samples; see `results.comparison.compare`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from bench.machine.environment import environment
from results import Environment, Interval, Record, RunFile
from results.comparison.compare import Row, compare
from results.statistics.intervals import LEVEL
from results.statistics.permutation import shift
from tests.trust._processes import Process, place_of
from tests.trust._subject import CASE


def compared(base: Sequence[Process], new: Sequence[Process]) -> dict[str, Row]:
    """Effect and verdict of every metric at every place."""
    rows = {place_of(row.metric, dict(row.at)): row for row in compare(_run(base), _run(new)).rows}
    return {place: rows[place] for place in base[0].timings()}


def ratio(base: Sequence[float], new: Sequence[float], level: float = LEVEL) -> Interval:
    """How many times as long the new side takes, with the interval of a comparison at a level of one's own."""
    bounds = shift(np.log([*base, *new])[:, None], len(base), level)
    return Interval(*(math.exp(bound[0]) for bound in bounds))


def _run(processes: Sequence[Process]) -> tuple[RunFile, list[Record]]:
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
        environment=_here(),
        cases=(CASE,),
        probes=("latency", "streaming"),
        workers=1,
        repeat=len(processes),
        created="",
    )
    return file, [record]


@cache
def _here() -> Environment:
    return environment("cpu", threads=1)
