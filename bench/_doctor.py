"""What this machine is, and what limits trust in timings made here."""

from __future__ import annotations

import json
import statistics

import psutil
from rich.console import Console

from bench._environment import available_cores, environment
from bench.probes import pulse

PULSES = 200
UNSTEADY_SPREAD = 0.10
"""Half the spread between the tenth and ninetieth percentile of the pulse, relative to its median."""
BUSY_LOAD_PER_CORE = 0.3


def examine(*, as_json: bool) -> None:
    """Print the fingerprint, the pulse's steadiness, and advice."""
    import torch

    torch.set_num_threads(1)
    fingerprint = environment("cpu")
    beats = sorted(pulse() for _ in range(PULSES))
    median = statistics.median(beats)
    spread = (beats[int(0.9 * PULSES)] - beats[int(0.1 * PULSES)]) / 2 / median
    load = psutil.getloadavg()[0] / available_cores()
    advice = advise(cores=available_cores(), spread=spread, load=load)
    if as_json:
        pulse_found = {"median_seconds": median, "relative_spread": spread}
        document = {"environment": fingerprint.model_dump(mode="json"), "pulse": pulse_found, "advice": advice}
        print(json.dumps(document, indent=1))
        return
    console = Console(highlight=False)
    for name, value in fingerprint.model_dump(exclude={"packages"}).items():
        console.print(f"[bold]{name:14}[/] {value}")
    for name, version in fingerprint.packages.items():
        console.print(f"[bold]{name:14}[/] {version}")
    console.print(f"[bold]{'pulse':14}[/] {median * 1e3:.2f} ms ± {spread:.0%} over {PULSES} products")
    for line in advice:
        console.print(f"• {line}")


def advise(*, cores: int, spread: float, load: float) -> list[str]:
    """What limits trust here, and what to do about it; one line where nothing does."""
    found = []
    if cores == 1:
        found.append("one core: whatever else runs disturbs the timings; close it, or read ratios only")
    if spread > UNSTEADY_SPREAD:
        found.append(
            f"the pulse varies by ±{spread:.0%}: another load or a throttled clock; read ratios of one run only"
        )
    if load > BUSY_LOAD_PER_CORE:
        found.append(f"the machine is busy (load {load:.1f} a core); wait, or end other work, before timing")
    return found or ["nothing found that limits trust in timings here"]
