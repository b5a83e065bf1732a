"""The cost of chunks: several steps of a stream that arrive at once, from the state of the stream at a position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCost:
    """The cost of one chunk of steps of one architecture."""

    arch: str
    position: int
    """The position in the stream at which the chunk starts."""
    chunk: int
    """The number of steps in the chunk."""
    cases: int
    answer_seconds: float
    """The time until the answer to the last step of the chunk: the median over cases of the median in each case."""

    @property
    def step_seconds(self) -> float:
        """The time per step of the chunk."""
        return self.answer_seconds / self.chunk


def chunk_costs(groups: Sequence[Group]) -> dict[str, list[ChunkCost]]:
    """Return the costs of chunks by architecture, sorted by position and by number of steps.

    Architectures are in the order of `groups`. Architectures without such timings are left out.
    """
    seconds: defaultdict[str, defaultdict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for group in groups:
        for record in group.records:
            for measurement in record.of("chunk_seconds"):
                if measurement.samples and measurement.at.get("chunk") and "position" in measurement.at:
                    location = measurement.at["position"], measurement.at["chunk"]
                    seconds[group.arch][location].append(median(measurement.samples))
    return {
        arch: [
            ChunkCost(arch=arch, position=position, chunk=chunk, cases=len(medians), answer_seconds=median(medians))
            for (position, chunk), medians in sorted(by_location.items())
        ]
        for arch, by_location in seconds.items()
    }
