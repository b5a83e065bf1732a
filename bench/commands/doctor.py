"""What this machine is, and how steady: what `carousel doctor` prints."""

from __future__ import annotations

import json
import statistics
import sys
from functools import partial

from rich.console import Console

from bench.machine import hardware
from bench.machine.advice import advise
from bench.machine.diagnosis import counter_increase, take_calibrations, vitals_of
from bench.machine.environment import environment, gpu_name
from bench.machine.memory import has_high_water_mark
from bench.machine.provenance import checkout, code_digest
from results import SLOW_CALIBRATION

LOOK_SECONDS = 10.0


def examine(*, as_json: bool, seconds: float = LOOK_SECONDS) -> None:
    """Print the fingerprint, the pulse's steadiness over so many seconds, and advice."""
    import torch

    torch.set_num_threads(1)
    if not as_json and sys.stderr.isatty():
        print(f"calibrating for {seconds:g} s", file=sys.stderr)
    counters = hardware.heat_events, hardware.quota_stops
    before = [count() for count in counters]
    beats, block = take_calibrations(seconds)
    heat, stops = (counter_increase(first, count()) for first, count in zip(before, counters, strict=True))
    vitals = vitals_of(beats, block, heat, stops)
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
        around = block.model_dump(mode="json", exclude={"calibration_seconds"})
        throttling = {"heat_events": heat, "quota_stops": stops}
        document = {
            "environment": fingerprint.model_dump(mode="json"),
            "gpu": gpu_name(),
            "code": {"digest": code_digest(), "commit": code.commit, "modified": code.modified},
            "calibration": found,
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
        f"[bold]{'calibration':14}[/] {statistics.median(beats) * 1e3:.2f} ms ± {vitals.spread:.1%}, "
        f"drift {vitals.drift:+.1%}, over {len(beats)} products in {seconds:g} s, "
        f"{vitals.slow_share:.0%} of them above {SLOW_CALIBRATION:g} times the median"
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
