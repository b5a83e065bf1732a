"""Advice on what limits trust in timings on a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import BUSY_LOAD, MAX_STEAL_SHARE, MAX_WAITING_SHARE

MAX_STEADY_SPREAD = 0.05
"""Largest `Vitals.spread` of a steady machine. The spread of a quiet machine is 1 to 2%. The time of a block varies as
much as the calibration time does."""
MAX_STEADY_DRIFT = 0.05
"""Largest `Vitals.drift` of a steady machine."""
SLOW_CLOCK_SECONDS = 5e-7
"""Longest acceptable time of one clock reading. A streamed step takes 10 µs or more, so the reading adds at most 5%."""
FREE_GOVERNORS = ("performance", "schedutil")
"""Acceptable governors: `performance` keeps the clock rate high, and `schedutil` raises it within milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """The steadiness of a machine during `carousel doctor`. Values that the system does not report are None."""

    cores: int
    """Number of cores that this process may use."""
    spread: float
    """Half the distance from the 10th to the 90th percentile of the calibration times, relative to their median."""
    drift: float
    """Increase of the median calibration time from the first to the last third, relative to the first third."""
    slow_share: float
    """Share of calibrations that took more than `SLOW_CALIBRATION` times the median."""
    load: float | None = None
    """Share of the time of all cores that other processes used."""
    steal: float | None = None
    """Share of the processor time that the hypervisor gave to other virtual machines."""
    waiting: float | None = None
    """Share of the time in which the measuring thread did not run."""
    clock_seconds: float = 0.0
    """Duration of one clock reading in seconds."""
    clock_source: str | None = None
    """Clock from which the kernel reads the time, such as `tsc`."""
    governor: str | None = None
    """Frequency governor of the first core, such as `performance`."""
    quota: float | None = None
    """Number of cores that the container's quota allows; None also if there is no limit."""
    heat_events: int | None = None
    """Number of thermal throttling events during the check, summed over the counters of all cores."""
    quota_stops: int | None = None
    """Number of times that the quota paused the container during the check."""
    virtual: str | None = None
    """Virtualisation: `container`, `virtual machine`, `container in a virtual machine`, or `none`."""
    unplugged: bool = False
    """Whether the machine runs on battery."""
    flushes: bool = True
    """Whether denormal numbers can be flushed to zero."""


def advise(vitals: Vitals) -> list[str]:
    """Return one line per problem that limits trust in timings. Without problems, return one line that says so."""
    checks: list[tuple[bool, Callable[[], str]]] = [
        (
            vitals.cores == 1,
            lambda: (
                "only one core: any other process disturbs timings; "
                "close other programs, or compare timings within one run only"
            ),
        ),
        (
            vitals.quota is not None and vitals.quota < vitals.cores,
            lambda: (
                f"a quota allows {vitals.quota:g} of {vitals.cores} cores: processes that use more are throttled; "
                "raise the quota, or set --workers no higher than the quota"
            ),
        ),
        (
            vitals.spread > MAX_STEADY_SPREAD,
            lambda: (
                f"calibration times vary by ±{vitals.spread:.0%}: other load or a changing clock rate; "
                "compare timings within one run only, and repeat the run"
            ),
        ),
        (
            vitals.drift > MAX_STEADY_DRIFT,
            lambda: (
                f"calibration slowed by {vitals.drift:.0%} during the check: the processor is throttling; "
                "let it cool, or limit its clock rate, before timing"
            ),
        ),
        (
            bool(vitals.heat_events),
            lambda: (
                f"heat slowed the processor {vitals.heat_events} times during the check: "
                "let it cool, or limit its clock rate, before timing"
            ),
        ),
        (
            bool(vitals.quota_stops),
            lambda: (
                f"the quota paused this container {vitals.quota_stops} times during the check: "
                "stop other processes in the container, or raise the quota"
            ),
        ),
        (
            vitals.load is not None and vitals.load > BUSY_LOAD,
            lambda: f"other processes use {vitals.load:.0%} of the cores: stop them, or wait, before timing",
        ),
        (
            vitals.steal is not None and vitals.steal > MAX_STEAL_SHARE,
            lambda: (
                f"the hypervisor gives {vitals.steal:.0%} of the processor time to other virtual machines: "
                "use a dedicated machine, or time when the host is less busy"
            ),
        ),
        (
            vitals.waiting is not None and vitals.waiting > MAX_WAITING_SHARE,
            lambda: (
                f"a compute-only thread was paused for {vitals.waiting:.0%} of the time: "
                "another process uses its core; stop that process before timing"
            ),
        ),
        (
            vitals.governor is not None and vitals.governor not in FREE_GOVERNORS,
            lambda: (
                f"the frequency governor is {vitals.governor}: set it to performance before timing "
                "(cpupower frequency-set -g performance)"
            ),
        ),
        (vitals.unplugged, lambda: "running on battery: plug the machine in before timing"),
        (
            vitals.clock_seconds > SLOW_CLOCK_SECONDS,
            lambda: (
                f"reading the clock takes {vitals.clock_seconds * 1e6:.1f} µs"
                + (f" (source {vitals.clock_source})" if vitals.clock_source else "")
                + ": times of single steps are too long; compare them only with each other"
            ),
        ),
        (
            not vitals.flushes,
            lambda: "denormal numbers cannot be flushed to zero: training on long sequences may be many times slower",
        ),
        (
            vitals.virtual not in (None, "none"),
            lambda: (
                f"running in a {vitals.virtual}: load from other guests on the same hardware cannot be seen; "
                "trust ratios within one run more than times from different days"
            ),
        ),
    ]
    return [advice() for applies, advice in checks if applies] or ["found nothing that limits trust in timings"]
