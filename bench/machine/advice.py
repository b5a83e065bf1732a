"""What limits trust in timings on a machine, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from results import BUSY_LOAD, MAX_STEAL_SHARE, MAX_WAITING_SHARE

UNSTEADY_SPREAD = 0.05
"""Half the spread between the tenth and ninetieth percentile of the pulse, relative to its median; a quiet machine
stays at one or two per cent, and a block's timing varies as its pulse does."""
DRIFTED = 0.05
"""How much slower the last third of the pulses may be than the first, relative to it."""
SLOW_CLOCK_SECONDS = 5e-7
"""Streamed steps begin at about 10 µs; a clock that takes this long adds a twentieth to them."""
FREE_GOVERNORS = ("performance", "schedutil")
"""The first holds the clock rate up, the second raises it within milliseconds of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What was found; None where the system does not tell."""

    cores: int
    spread: float
    drift: float
    slow_share: float
    """Of pulses that a reader would call disturbed."""
    load: float | None = None
    steal: float | None = None
    waiting: float | None = None
    clock_seconds: float = 0.0
    clock_source: str | None = None
    governor: str | None = None
    quota: float | None = None
    heat_events: int | None = None
    quota_stops: int | None = None
    """Both of the time that was watched."""
    virtual: str | None = None
    unplugged: bool = False
    flushes: bool = True


def advise(vitals: Vitals) -> list[str]:
    """What limits trust here, and what to do about it; one line where nothing does."""
    told: list[tuple[bool, Callable[[], str]]] = [
        (
            vitals.cores == 1,
            lambda: "one core: whatever else runs disturbs the timings; close it, or read ratios of one run only",
        ),
        (
            vitals.quota is not None and vitals.quota < vitals.cores,
            lambda: (
                f"a quota allows {vitals.quota:g} of {vitals.cores} cores: the system stops processes that use "
                "more; raise it, or give --workers no more than that"
            ),
        ),
        (
            vitals.spread > UNSTEADY_SPREAD,
            lambda: (
                f"the pulse varies by ±{vitals.spread:.0%}: another load or a clock rate that changes; "
                "read ratios of one run only, and repeat the run"
            ),
        ),
        (
            vitals.drift > DRIFTED,
            lambda: (
                f"the pulse slowed by {vitals.drift:.0%} while it was watched: the processor throttles; "
                "let it cool, or limit its clock rate, before timing"
            ),
        ),
        (
            bool(vitals.heat_events),
            lambda: (
                f"heat slowed the processor {vitals.heat_events} times while it was watched: "
                "let it cool, or limit its clock rate, before timing"
            ),
        ),
        (
            bool(vitals.quota_stops),
            lambda: (
                f"the quota stopped this container {vitals.quota_stops} times while it was watched: "
                "end what else runs in it, or raise the quota"
            ),
        ),
        (
            vitals.load is not None and vitals.load > BUSY_LOAD,
            lambda: f"other work keeps {vitals.load:.0%} of the cores busy: end it, or wait, before timing",
        ),
        (
            vitals.steal is not None and vitals.steal > MAX_STEAL_SHARE,
            lambda: (
                f"another machine takes {vitals.steal:.0%} of the processor's time: ask for one of your own, "
                "or time at a quieter hour"
            ),
        ),
        (
            vitals.waiting is not None and vitals.waiting > MAX_WAITING_SHARE,
            lambda: (
                f"a thread that only computes stood still for {vitals.waiting:.0%} of the time: "
                "something takes its core; end it before timing"
            ),
        ),
        (
            vitals.governor is not None and vitals.governor not in FREE_GOVERNORS,
            lambda: (
                f"the clock rate is governed by {vitals.governor}: set it to performance before timing "
                "(cpupower frequency-set -g performance)"
            ),
        ),
        (vitals.unplugged, lambda: "on battery: plug the machine in before timing"),
        (
            vitals.clock_seconds > SLOW_CLOCK_SECONDS,
            lambda: (
                f"reading the clock takes {vitals.clock_seconds * 1e6:.1f} µs"
                + (f" (source {vitals.clock_source})" if vitals.clock_source else "")
                + ": single steps read too long; compare them with each other only"
            ),
        ),
        (
            not vitals.flushes,
            lambda: "denormal numbers cannot be flushed here: training on long sequences may be many times slower",
        ),
        (
            vitals.virtual not in (None, "none"),
            lambda: (
                f"{vitals.virtual}: neighbours on the same hardware cannot be seen from here; "
                "trust ratios of one run more than figures of different days"
            ),
        ),
    ]
    return [line() for holds, line in told if holds] or ["nothing found that limits trust in timings here"]
