"""Rows of the latency table: forward passes and training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.leaderboard import bounds
from results import METRICS, Limits, Record, RunFile, interval_of_median


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """A whole-sequence timing of one architecture at one length: the median over cases of their median blocks."""

    arch: str
    what: str
    length: int
    batch: int | None
    cases: int
    median_seconds: float
    low_seconds: float | None
    high_seconds: float | None
    """95% interval of the median over cases; None with fewer than six cases."""
    least_seconds: float
    limit_share: float | None = None
    """Of what the machine can do, the median over cases; None where the architecture or the run does not say."""


def latency(run: RunFile, records: Sequence[Record]) -> list[TimingRow]:
    """One row per timing, length, batch and architecture: whole sequences, not single steps."""
    return latency_of(group_cases(run, records))


def latency_of(found: Sequence[Group]) -> list[TimingRow]:
    """The latency table of groups that are already at hand."""
    timings = ("forward_seconds", "train_step_seconds", "first_call_seconds")
    samples: dict[tuple[int, int, int, str], list[tuple[float, ...]]] = {}
    shares: dict[tuple[int, int, int, str], list[float]] = {}
    archs = archs_of(found)
    for group in found:
        for record in group.records:
            limits = Limits(record)
            for measurement in (one for one in record.measurements if one.metric in timings and one.samples):
                length, batch = measurement.at.get("length", group.length), measurement.at.get("batch", 0)
                place = (timings.index(measurement.metric), length, batch, group.arch)
                samples.setdefault(place, []).append(measurement.samples)
                if (share := limits.share(measurement)) is not None:
                    shares.setdefault(place, []).append(share)
    rows = []
    for (metric, length, batch, arch), cases in sorted(
        samples.items(), key=lambda item: (*item[0][:3], archs.index(item[0][3]))
    ):
        interval = interval_of_median([median(case) for case in cases])
        low, high = bounds(interval)
        rows.append(
            TimingRow(
                arch=arch,
                what=METRICS[timings[metric]].title,
                length=length,
                batch=batch or None,
                cases=len(cases),
                median_seconds=interval.middle,
                low_seconds=low,
                high_seconds=high,
                least_seconds=min(min(case) for case in cases),
                limit_share=median(reached) if (reached := shares.get((metric, length, batch, arch))) else None,
            )
        )
    return rows
