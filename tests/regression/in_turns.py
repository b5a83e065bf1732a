"""Copies that are measured in turns with the original by `carousel run --against`."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.errors import OK, REGRESSED
from tests.regression.in_sequence import INCONCLUSIVE
from tests.regression.planting import HOME, STREAMED_TENTH, TRAINED_TENTH, Slowdown, carousel, copy_packages, run_in
from tests.trust.processes import neighbours

LIMIT_SECONDS = 180
"""The longest that a decision may take."""
_PLAN = """
summary = "one network with a slower kernel, and one with an unchanged kernel"
archs = ["lstm", "rnn"]
tasks = ["first_last"]
lengths = [32]
seeds = 1
width = 160
depth = 2
measure = ["{measured}"]
protocol = "untrained"

[timing]
positions = [64]
steps = 1000
blocks = 10
batch = 8
streams = [1]
chunks = []
"""
"""Two layers of 160 units: the weights fit into a cache of 2 MiB, and most of a step is spent in the kernel."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A slowdown, and a plan that shows it."""

    slowdown: Slowdown
    measured: str
    """The probe of the plan."""
    slower: tuple[str, ...]
    """Metrics that the slowdown may change. A call from Python may take too long for its increase to be reported."""

    @property
    def plan(self) -> str:
        """The text of the plan."""
        return _PLAN.format(measured=self.measured)


TRIALS = {
    "streaming": Trial(STREAMED_TENTH, "streaming", ("step_seconds", "call_step_seconds")),
    "training": Trial(TRAINED_TENTH, "latency", ("train_step_seconds",)),
}


def measure_in_turns(name: str, times: int, is_busy: bool) -> int:
    """Measure an unchanged and a slower copy in turns with the original, `times` times, and return the exit code.

    `name` selects one of `TRIALS`. If `is_busy`, another process keeps one core busy. A slower copy may then pass, if
    its timings are inconclusive.
    """
    trial = TRIALS[name]
    problems: list[str] = []
    is_inconclusive = False
    with tempfile.TemporaryDirectory() as folder, neighbours(1) if is_busy else contextlib.nullcontext():
        scratch = Path(folder)
        plan, store = scratch / "planted.toml", scratch / "store"
        plan.write_text(trial.plan, encoding="utf-8")
        copies = {"unchanged": copy_packages(scratch / "unchanged")}
        copies["slower"] = copy_packages(scratch / "slower", trial.slowdown)
        for copy in copies.values():
            run_in(copy, "-c", "import arch; arch.compile_kernels(['lstm', 'rnn'])")
        for number in range(1, times + 1):
            for version, copy in copies.items():
                label = f"{name}, {version} copy, {number} of {times}"
                began = time.monotonic()
                result = carousel(copy, "run", str(plan), "--against", str(HOME), "--json", store=store)
                seconds = time.monotonic() - began
                if result.returncode not in (OK, REGRESSED):
                    print(f"{label}: the run exited with code {result.returncode}: {result.stderr[-2000:]}")
                    return 1
                timings = [row for row in json.loads(result.stdout)["rows"] if row["kind"] == "timing"]
                regressed = [row for row in timings if row["verdict"] == "regressed"]
                undecided = sum(row["verdict"] == "inconclusive" for row in timings)
                effects = ", ".join(f"{row['arch']} {row['metric']} {row['effect']:+.1%}" for row in regressed)
                print(
                    f"{label}: exit code {result.returncode} after {seconds:.0f} s, "
                    f"{undecided} of {len(timings)} timings inconclusive; regressed: {effects or 'none'}",
                    flush=True,
                )
                planted = [row for row in timings if row["arch"] == "lstm" and row["metric"] in trial.slower]
                allowed = planted if version == "slower" else []
                problems += [
                    f"{label}: {row['arch']} {row['metric']} {row['at']} is reported as regressed"
                    for row in regressed
                    if row not in allowed
                ]
                if seconds > LIMIT_SECONDS and not is_busy:
                    problems.append(f"{label}: the decision took {seconds:.0f} s, which is over {LIMIT_SECONDS} s")
                if version == "slower" and result.returncode != REGRESSED:
                    was_inconclusive = any(row["verdict"] == "inconclusive" for row in planted)
                    is_inconclusive |= was_inconclusive
                    if not (is_busy and was_inconclusive):
                        problems.append(f"{label}: passed, with {undecided} inconclusive timings")
    for line in problems:
        print(f"UNEXPECTED: {line}")
    if problems and is_inconclusive and all("inconclusive timings" in line for line in problems):
        return INCONCLUSIVE
    return 1 if problems else 0
