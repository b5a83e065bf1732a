"""What this machine is, and what limits trust in timings made here."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil
from rich.console import Console

from bench import _hardware as hardware
from bench._environment import available_cores, checkout, code_digest, environment, gpu_name
from bench._train import flushes_denormals
from bench.probes import Machine, pulse
from bench.probes._memory import has_high_water_mark
from bench.probes.streaming import clock_overhead
from results import BUSY_LOAD, SLOW_PULSE, STOLEN, WAITED, Block

LOOK_SECONDS = 10.0
UNSTEADY_SPREAD = 0.05
"""Half the spread between the tenth and ninetieth percentile of the pulse, relative to its median; a quiet machine
stays at one or two per cent, and a block's timing varies as its pulse does."""
DRIFTED = 0.05
"""How much slower the last third of the pulses may be than the first, relative to it."""
SLOW_CLOCK_SECONDS = 1e-6
"""Streamed steps begin at about 20 µs; a clock that takes this long adds a twentieth to them."""
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


def examine(*, as_json: bool, seconds: float = LOOK_SECONDS) -> None:
    """Print the fingerprint, the pulse's steadiness over so many seconds, and advice."""
    import torch

    torch.set_num_threads(1)
    if not as_json and sys.stderr.isatty():
        print(f"taking the pulse for {seconds:g} s", file=sys.stderr)
    counters = hardware.heat_events, hardware.quota_stops
    before = [count() for count in counters]
    beats, block = take_pulses(seconds)
    heat, stops = (_more(first, count()) for first, count in zip(before, counters, strict=True))
    vitals = _vitals(beats, block, heat, stops)
    fingerprint, code, advice = environment("cpu", threads=1), checkout(), advise(vitals)
    if as_json:
        found = {
            "seconds": seconds,
            "count": len(beats),
            "median_seconds": statistics.median(beats),
            "relative_spread": vitals.spread,
            "relative_drift": vitals.drift,
            "slow_share": vitals.slow_share,
        }
        around = block.model_dump(mode="json", exclude={"pulse_seconds"})
        throttling = {"heat_events": heat, "quota_stops": stops}
        document = {
            "environment": fingerprint.model_dump(mode="json"),
            "gpu": gpu_name(),
            "code": {"digest": code_digest(), "commit": code.commit, "modified": code.modified},
            "pulse": found,
            "around": {**around, **throttling, "clock_seconds": vitals.clock_seconds},
            "advice": advice,
        }
        print(json.dumps(document, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in _lines(fingerprint.model_dump()):
        console.print(f"[bold]{name:14}[/] {value}")
    console.print(f"[bold]{'gpu':14}[/] {gpu_name() or 'none that torch can use'}")
    if code.commit is not None:
        console.print(f"[bold]{'commit':14}[/] {code.commit[:10]}{' and changes' if code.modified else ''}")
    console.print(
        f"[bold]{'pulse':14}[/] {statistics.median(beats) * 1e3:.2f} ms ± {vitals.spread:.1%}, "
        f"drift {vitals.drift:+.1%}, over {len(beats)} products in {seconds:g} s, "
        f"{vitals.slow_share:.0%} of them above {SLOW_PULSE:g} times the median"
    )
    for name, share in (("load of others", vitals.load), ("stolen", vitals.steal), ("waiting", vitals.waiting)):
        console.print(f"[bold]{name:14}[/] {'not told by this system' if share is None else f'{share:.1%}'}")
    for name, did, count in (("heat", "slowed the processor", heat), ("quota", "stopped this container", stops)):
        told = "not told by this system" if count is None else f"{did} {count} times meanwhile"
        console.print(f"[bold]{name:14}[/] {told}")
    console.print(f"[bold]{'clock':14}[/] {vitals.clock_seconds * 1e9:.0f} ns a reading")
    mark = "the kernel's high-water mark" if has_high_water_mark() else "sampled every 5 ms"
    console.print(f"[bold]{'peak memory':14}[/] {mark}")
    for line in advice:
        console.print(f"• {line}")


def take_pulses(
    seconds: float,
    *,
    beat: Callable[[], float] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    machine: Machine | None = None,
) -> tuple[list[float], Block]:
    """Pulses one after the other for so many seconds, three at least, and what the machine did meanwhile."""
    beat = beat or pulse
    beat()  # the first one sets the library up

    def look() -> list[float]:
        beats: list[float] = []
        until = clock() + seconds
        while len(beats) < 3 or clock() < until:
            beats.append(beat())
        return beats

    return (machine or Machine(beat=beat)).around(look)


def spread_of(beats: list[float]) -> float:
    """Half the distance between the tenth and the ninetieth percentile, relative to the median."""
    ordered, last = sorted(beats), len(beats) - 1
    return (ordered[round(0.9 * last)] - ordered[round(0.1 * last)]) / 2 / statistics.median(beats)


def drift_of(beats: list[float]) -> float:
    """By how much the last third is slower than the first, medians, relative to it."""
    third = len(beats) // 3
    return statistics.median(beats[-third:]) / statistics.median(beats[:third]) - 1


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
                "more; raise it, or give --lanes no more than that"
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
            vitals.steal is not None and vitals.steal > STOLEN,
            lambda: (
                f"another machine takes {vitals.steal:.0%} of the processor's time: ask for one of your own, "
                "or time at a quieter hour"
            ),
        ),
        (
            vitals.waiting is not None and vitals.waiting > WAITED,
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


def _can_flush() -> bool:
    """Whether denormal numbers can be flushed to zero here; leaves it as it was."""
    import torch

    was_flushing = flushes_denormals()
    can = bool(torch.set_flush_denormal(True))
    torch.set_flush_denormal(was_flushing)
    return can


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _vitals(beats: list[float], block: Block, heat: int | None, stops: int | None) -> Vitals:
    median = statistics.median(beats)
    battery = getattr(psutil, "sensors_battery", lambda: None)()
    return Vitals(
        cores=available_cores(),
        spread=spread_of(beats),
        drift=drift_of(beats),
        slow_share=sum(beat > SLOW_PULSE * median for beat in beats) / len(beats),
        load=block.load,
        steal=block.steal_share,
        waiting=block.waiting_share,
        clock_seconds=clock_overhead(time.perf_counter_ns),
        clock_source=hardware.clock_source(),
        governor=hardware.governor(),
        quota=hardware.quota_cores(),
        heat_events=heat,
        quota_stops=stops,
        virtual=hardware.virtual(),
        unplugged=battery is not None and not battery.power_plugged,
        flushes=_can_flush(),
    )


def _lines(fingerprint: dict[str, object]) -> list[tuple[str, object]]:
    """One line a field, those of the packages and caches among them; a field that is not told has none."""
    lines: list[tuple[str, object]] = []
    for name, value in fingerprint.items():
        if isinstance(value, dict):
            size = partial("{:,} KiB".format) if name == "caches" else None
            lines += [(key, size(part >> 10) if size else part) for key, part in value.items()]
        elif name == "memory_bytes":
            lines.append(("memory", f"{value / 2**30:.1f} GiB"))
        elif value is not None:
            lines.append((name.replace("_", " "), value))
    return lines
