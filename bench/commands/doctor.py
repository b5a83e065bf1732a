"""`carousel doctor`: describe this machine, calibrate it, and advise on its timings."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

import torch

from arch import kernels
from bench.commands.output import new_console, print_json, print_lines
from bench.errors import UsageError
from bench.machine import hardware
from bench.machine.advice import Vitals, advise
from bench.machine.diagnosis import counter_increase, take_calibrations, vitals_of
from bench.machine.environment import environment, gpu_name
from bench.machine.memory import has_high_water_mark
from bench.machine.provenance import checkout, code_digest
from reports.format import print_labelled
from results import SLOW_CALIBRATION, Block

MAX_SECONDS = 600.0
NOT_REPORTED = "not reported by this system"


def diagnose(seconds: float, *, as_json: bool) -> None:
    """Calibrate for `seconds`, then print the environment, the calibration and advice.

    If `as_json` is true, print one JSON document. Torch uses one thread, also after the call.

    Raises `UsageError` unless 0 < `seconds` <= `MAX_SECONDS`.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise UsageError(f"--seconds must be more than 0 and at most {MAX_SECONDS:g}, not {seconds:g}")
    torch.set_num_threads(1)
    if not as_json and sys.stderr.isatty():
        print(f"calibrating for {seconds:g} s", file=sys.stderr)
    counters = hardware.heat_events, hardware.quota_stops
    before = [count() for count in counters]
    calibrations, block = take_calibrations(seconds)
    heat, stops = (counter_increase(first, count()) for first, count in zip(before, counters, strict=True))
    vitals = vitals_of(calibrations, block, heat, stops)
    if as_json:
        print_json(_document(seconds, calibrations, block, vitals))
        return
    console = new_console()
    for label, value in [*_environment_lines(), *_measured_lines(seconds, calibrations, vitals)]:
        print_labelled(f"{label:14}", f" {value}", console)
    print_lines([f"• {line}" for line in advise(vitals)], console)


def _document(seconds: float, calibrations: list[float], block: Block, vitals: Vitals) -> dict[str, object]:
    code = checkout()
    return {
        "environment": environment("cpu", threads=1).model_dump(mode="json"),
        "gpu": gpu_name(),
        "kernels": kernels.describe(),
        "code": {"digest": code_digest(), "commit": code.commit, "modified": code.modified},
        "calibration": {
            "seconds": seconds,
            "count": len(calibrations),
            "median_seconds": statistics.median(calibrations),
            "relative_spread": vitals.spread,
            "relative_drift": vitals.drift,
            "slow_share": vitals.slow_share,
        },
        "machine": {
            **block.model_dump(mode="json", exclude={"calibration_seconds"}),
            "heat_events": vitals.heat_events,
            "quota_stops": vitals.quota_stops,
            "clock_seconds": vitals.clock_seconds,
        },
        "advice": advise(vitals),
    }


def _environment_lines() -> Iterator[tuple[str, object]]:
    """Yield a label and a value per known field of the environment.

    Each package and each cache has its own label. The GPU and, if known, the commit follow the fields.
    """
    for name, value in environment("cpu", threads=1).model_dump().items():
        if isinstance(value, dict):
            for key, part in value.items():
                yield key, f"{part >> 10:,} KiB" if name == "caches" else part
        elif name == "memory_bytes" and isinstance(value, int):
            yield "memory", f"{value / 2**30:.1f} GiB"
        elif value is not None:
            yield name.replace("_", " "), value
    yield "gpu", gpu_name() or "none available to torch"
    yield "kernels", kernels.describe()
    code = checkout()
    if code.commit is not None:
        yield "commit", f"{code.commit[:10]}{' with local changes' if code.modified else ''}"


def _measured_lines(seconds: float, calibrations: list[float], vitals: Vitals) -> Iterator[tuple[str, str]]:
    yield (
        "calibration",
        f"{statistics.median(calibrations) * 1e3:.2f} ms ± {vitals.spread:.1%}, drift {vitals.drift:+.1%}, "
        f"{len(calibrations)} matrix products in {seconds:g} s, "
        f"{vitals.slow_share:.0%} of them slower than {SLOW_CALIBRATION:g} times the median",
    )
    for label, share in (("other load", vitals.load), ("stolen time", vitals.steal), ("waiting", vitals.waiting)):
        yield label, NOT_REPORTED if share is None else f"{share:.1%}"
    for label, event, count in (
        ("heat", "slowed the processor", vitals.heat_events),
        ("quota", "paused this container", vitals.quota_stops),
    ):
        yield label, NOT_REPORTED if count is None else f"{event} {count} time{'' if count == 1 else 's'}"
    yield "clock", f"{vitals.clock_seconds * 1e9:.0f} ns per reading"
    yield "peak memory", "read from the kernel" if has_high_water_mark() else "sampled every 5 ms"
