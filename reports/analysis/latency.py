"""Rows of the latency table: forward passes, first calls and training steps over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.leaderboard import bounds
from results import METRICS, Limits, Record, RunFile, interval_of_median


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """One timing of an architecture at one length and batch size, summarised over cases."""

    arch: str
    what: str
    """The title of the timed metric, such as `forward pass`."""
    length: int
    batch: int | None
    """The number of sequences per batch; None if the measurement states no batch size."""
    cases: int
    median_seconds: float
    """The median of the cases' medians."""
    low_seconds: float | None
    """The lower end of the 95% interval of `median_seconds`; None with fewer than six cases."""
    high_seconds: float | None
    """The upper end of the 95% interval of `median_seconds`; None with fewer than six cases."""
    least_seconds: float
    """The fastest sample of all cases."""
    limit_share: float | None = None
    """The share of the roofline limit that the timing reaches, as the median over cases; None if it is unknown."""


def latency(run: RunFile, records: Sequence[Record]) -> list[TimingRow]:
    """Return one row per timed metric, length, batch size and architecture, sorted in this order."""
    return latency_of(group_cases(run, records))


def latency_of(groups: Sequence[Group]) -> list[TimingRow]:
    """Return the same rows as `latency`, given the groups of a run."""
    timings = ("forward_seconds", "train_step_seconds", "first_call_seconds")
    samples: dict[tuple[int, int, int, str], list[tuple[float, ...]]] = {}
    shares: dict[tuple[int, int, int, str], list[float]] = {}
    archs = archs_of(groups)
    for group in groups:
        for record in group.records:
            limits = Limits(record)
            for measurement in (m for m in record.measurements if m.metric in timings and m.samples):
                length, batch = measurement.at.get("length", group.length), measurement.at.get("batch", 0)
                key = (timings.index(measurement.metric), length, batch, group.arch)
                samples.setdefault(key, []).append(measurement.samples)
                if (share := limits.share(measurement)) is not None:
                    shares.setdefault(key, []).append(share)
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
                limit_share=median(values) if (values := shares.get((metric, length, batch, arch))) else None,
            )
        )
    return rows
