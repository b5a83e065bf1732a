"""What this machine is, and how steady: what `carousel doctor` prints."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import psutil
from rich.console import Console

from bench import _hardware as hardware
from bench._advice import Vitals, advise
from bench._environment import available_cores, checkout, code_digest, environment, gpu_name
from bench._train import flushes_denormals
from bench.probes import Machine, pulse
from bench.probes._memory import has_high_water_mark
from bench.probes.streaming import clock_overhead
from results import SLOW_PULSE, Block

LOOK_SECONDS = 10.0


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
        elif name == "memory_bytes" and isinstance(value, int):
            lines.append(("memory", f"{value / 2**30:.1f} GiB"))
        elif value is not None:
            lines.append((name.replace("_", " "), value))
    return lines
