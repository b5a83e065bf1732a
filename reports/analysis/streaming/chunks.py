"""The cost of chunks: several steps of a stream that arrive at once, from the state of the stream at a position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group
from reports.analysis.noise import is_mostly_noisy, is_noisy


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkCost:
    """The cost of one chunk of steps of one architecture."""

    arch: str
    position: int
    """The position in the stream at which the chunk starts."""
    chunk: int
    """The number of steps in the chunk."""
    cases: int
    noisy: bool
    """Whether other work on the machine disturbed at least half of these timings."""
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
    timings: defaultdict[str, defaultdict[tuple[int, int], list[tuple[float, bool]]]]
    timings = defaultdict(lambda: defaultdict(list))
    for group in groups:
        for seed in group.seeds:
            for measurement in [] if seed.record is None else seed.record.of("chunk_seconds"):
                if measurement.samples and measurement.at.get("chunk") and "position" in measurement.at:
                    location = measurement.at["position"], measurement.at["chunk"]
                    timing = median(measurement.samples), is_noisy(measurement, seed.calibration_seconds)
                    timings[group.arch][location].append(timing)
    return {
        arch: [
            ChunkCost(
                arch=arch,
                position=position,
                chunk=chunk,
                cases=len(of_cases),
                noisy=is_mostly_noisy([noisy for _, noisy in of_cases]),
                answer_seconds=median(seconds for seconds, _ in of_cases),
            )
            for (position, chunk), of_cases in sorted(by_location.items())
        ]
        for arch, by_location in timings.items()
    }
