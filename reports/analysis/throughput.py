"""Throughput of parallel streams: steps per second over all streams of a batch."""

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


def throughputs(groups: Sequence[Group]) -> list[Throughput]:
    """Return the throughputs, sorted by architecture (as in `groups`), then by position and number of streams."""
    seconds: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
    for group in groups:
        for record in group.records:
            for measurement in record.of("stream_step_seconds"):
                if measurement.samples and {"position", "streams"} <= measurement.at.keys():
                    key = group.arch, measurement.at["position"], measurement.at["streams"]
                    seconds[key].append(median(measurement.samples))
    order = {group.arch: i for i, group in reversed(list(enumerate(groups)))}
    return [
        Throughput(
            arch=arch,
            position=position,
            streams=streams,
            cases=len(medians),
            steps_per_second=streams / median(medians),
        )
        for (arch, position, streams), medians in sorted(
            seconds.items(), key=lambda item: (order[item[0][0]], *item[0][1:])
        )
    ]
