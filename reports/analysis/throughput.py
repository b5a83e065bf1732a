"""Many streams at once: how many steps a second one core takes for all of them together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Steps a second of so many streams, one step of each at a time: the median over cases of their medians."""

    arch: str
    streams: int
    position: int
    cases: int
    steps_per_second: float


def throughputs(found: Sequence[Group]) -> list[Throughput]:
    """By architecture in the order of the run, then by position and number of streams."""
    seconds: defaultdict[tuple[str, int, int], list[float]] = defaultdict(list)
    for group in found:
        for record in group.records:
            for measurement in record.of("stream_step_seconds"):
                if measurement.samples and {"position", "streams"} <= measurement.at.keys():
                    place = group.arch, measurement.at["position"], measurement.at["streams"]
                    seconds[place].append(median(measurement.samples))
    order = {group.arch: i for i, group in reversed(list(enumerate(found)))}
    return [
        Throughput(
            arch=arch, position=position, streams=streams, cases=len(kept), steps_per_second=streams / median(kept)
        )
        for (arch, position, streams), kept in sorted(
            seconds.items(), key=lambda item: (order[item[0][0]], *item[0][1:])
        )
    ]
