"""Throughput of parallel streams: steps per second over all streams of a batch.

Like the cost of a step, it is measured inside a compiled loop, or by calls from Python if there is no compiled step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """The throughput of one architecture at one position, for one number of parallel streams."""

    arch: str
    streams: int
    position: int
    cases: int
    steps_per_second: float
    """Steps per second of all streams together, computed from the median over cases of the median step time."""
    is_compiled: bool
    """Whether the steps ran inside a compiled loop. If not, each was a call from Python."""


def throughputs(groups: Sequence[Group]) -> list[Throughput]:
    """Return the throughputs, sorted by architecture (as in `groups`), then by position and number of streams."""
    seconds: defaultdict[tuple[str, int, int, bool], list[float]] = defaultdict(list)
    for group in groups:
        for record in group.records:
            for metric, is_compiled in (("stream_step_seconds", True), ("call_stream_step_seconds", False)):
                for measurement in record.of(metric):
                    if measurement.samples and {"position", "streams"} <= measurement.at.keys():
                        key = group.arch, measurement.at["position"], measurement.at["streams"], is_compiled
                        if (step_seconds := median(measurement.samples)) > 0:  # no step takes no time
                            seconds[key].append(step_seconds)
    order = {group.arch: i for i, group in reversed(list(enumerate(groups)))}
    return [
        Throughput(
            arch=arch,
            position=position,
            streams=streams,
            cases=len(medians),
            steps_per_second=streams / median(medians),
            is_compiled=is_compiled,
        )
        for (arch, position, streams, is_compiled), medians in sorted(
            seconds.items(), key=lambda item: (order[item[0][0]], *item[0][1:])
        )
        if is_compiled or (arch, position, streams, True) not in seconds
    ]
