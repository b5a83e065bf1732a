"""Check that a step costs the same with trained and with initial weights, and print a table.

    python -m tests.trust.untrained [--processes 8] [ARCH...]

Each architecture is trained, and built once more with its initial weights. Fresh processes time both models in turns,
as a run does. The exit code is 1 if a timing differs by more than a comparison of versions in turns counts as a change,
and by more than its noise. Use a quiet machine.

One run holds both kinds of models: an `[[extra]]` grid of the plan is untrained.

Only denormal numbers could make a cost depend on weights, and processes that time flush them to zero. So models with
weights of about 1e-20 are timed too, with denormals flushed and kept. The former must cost what other weights do.
"""

# Shape suffixes: R clock readings

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console

import arch
from bench.plans.extra import Extra
from bench.plans.plan import Plan, Timing
from bench.plans.protocol import OF_UNTRAINED
from bench.runner.request import Request
from bench.runner.run import execute
from results import Record
from results.comparison import Thresholds
from results.statistics.sign_flips import shift
from tests.trust.processes import label
from tests.trust.table import MIN_WIDTH, Row, print_table

ARCHS = ("rnn", "lstm", "gru", "min_gru", "mamba", "delta_net", "transformer")
METRICS = ("step_seconds", "forward_seconds", "train_step_seconds")
LARGEST_DIFFERENCE = Thresholds().timing_in_turns
LEVEL = 0.95
TINY = 1e-20
"""Factor of the weights whose products are denormal numbers."""
STEPS, UNTIMED, BURSTS = 256, 64, 200
"""Steps of a burst, untimed ones among them, and number of bursts, of which the fastest counts."""
MIN_PROCESSES = 6
"""Smallest number of processes with which an interval at `LEVEL` has ends."""


def plan_of(archs: Sequence[str], steps: int = 300) -> Plan:
    """Return a plan that times each architecture after `steps` training steps, and with its initial weights."""
    return Plan(
        summary="trained and initial weights",
        archs=tuple(archs),
        tasks=("first_last",),
        lengths=(32,),
        seeds=1,
        width=32,
        depth=1,
        measure=("latency", "streaming"),
        protocol={"steps": steps, "learning_rate": 1e-2, "solved_after": 0, "evaluate_at": ["1x"]},
        extra=(Extra(protocol=OF_UNTRAINED),),
        timing=Timing(positions=(16, 512), steps=400, blocks=10, batch=8, streams=(1,), streams_position=16, chunks=()),
    )


def costs_are_equal(records: Sequence[Record]) -> list[Row]:
    """Return one row per architecture and timing, which compares trained with initial weights.

    Each process has timed both models. Its value is the logarithm of the ratio of the two medians.
    """
    trained = {record.case.arch: record for record in records if record.case.protocol.trains}
    initial = {record.case.arch: record for record in records if not record.case.protocol.trains}
    assert trained.keys() == initial.keys()
    return [
        _row(f"{arch}: {name}", values[name], _medians(initial[arch])[name])
        for arch in trained
        for values in [_medians(trained[arch])]
        for name in values
    ]


def _row(name: str, trained: dict[int, float], initial: dict[int, float]) -> Row:
    """Compare the medians of a timing, by process."""
    differences = np.array([[math.log(initial[process] / seconds)] for process, seconds in sorted(trained.items())])
    low, middle, high = (math.expm1(bound[0]) for bound in shift(differences, LEVEL))
    return Row(
        name,
        f"within {LARGEST_DIFFERENCE:.0%}, or 0 inside {LEVEL:.0%}",
        f"{1e6 * median(trained.values()):,.3g} µs trained; untrained {middle:+.1%} ({low:+.1%} to {high:+.1%})",
        abs(middle) <= LARGEST_DIFFERENCE or low <= 0 <= high,
    )


def tiny_weights_cost_the_same(archs: Sequence[str]) -> list[Row]:
    """Return one row per architecture, which compares the steps of initial weights with those of tiny weights."""
    rows = []
    for spec in archs:
        plain, flushed, kept = (
            fastest_step(spec, factor, flush) for factor, flush in ((1.0, True), (TINY, True), (TINY, False))
        )
        measured = f"{1e6 * plain:.3g} µs; {flushed / plain - 1:+.1%} flushed, {kept / plain - 1:+.1%} kept"
        passed = flushed / plain - 1 <= LARGEST_DIFFERENCE
        rows.append(Row(f"{spec}: weights of {TINY:g}", f"at most {LARGEST_DIFFERENCE:+.0%} flushed", measured, passed))
    return rows


def fastest_step(spec: str, factor: float, flush: bool) -> float:
    """Return the seconds per step of the fastest burst, inside a compiled loop.

    Args:
        spec: Architecture with a compiled step.
        factor: Factor of all initial weights, of the inputs and of the state from which a burst starts.
        flush: Whether denormal numbers are flushed to zero.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(flush)
    try:
        model = arch.build(spec, channels=1, outputs=2, width=32, depth=1, seed=0).eval()
        x, times_R = factor * torch.rand(1, STEPS, 1), torch.zeros(STEPS + 1, dtype=torch.int64)
        seconds = []
        with torch.inference_mode():
            for parameter in model.parameters():
                parameter.mul_(factor)
            _, state = model.scan(x, model.init_state(1))
            for _ in range(BURSTS):
                model.stream(x, arch.copy_state(state), times_R)
                seconds.append((times_R[-1] - times_R[UNTIMED]).item() / 1e9 / (STEPS - UNTIMED))
    finally:
        torch.set_flush_denormal(False)
    return min(seconds)


def _medians(record: Record) -> dict[str, dict[int, float]]:
    """Return the median seconds of each timing, by its label and by process."""
    medians: dict[str, dict[int, float]] = {}
    for metric in METRICS:
        for measurement in record.by_process(metric):
            by_process = medians.setdefault(label(metric, measurement.at), {})
            by_process[measurement.process] = median(measurement.samples)
    return medians


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.trust.untrained", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("archs", nargs="*", metavar="ARCH", default=ARCHS, help=f"default: {' '.join(ARCHS)}")
    parser.add_argument("--processes", type=int, default=8, help="Fresh processes (default: %(default)s).")
    options = parser.parse_args()
    if options.processes < MIN_PROCESSES:
        parser.error(f"--processes must be at least {MIN_PROCESSES} to compute intervals, not {options.processes}")
    console = Console()
    console.width = max(console.width, MIN_WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            plan_name="untrained",
            plan=plan_of(options.archs),
            store=Path(folder),
            command="python -m tests.trust.untrained",
            repeat=options.processes,
        )
        outcome = execute(request, console)
    assert outcome.complete, [(record.key, record.status, record.reason) for record in outcome.records]
    rows = [*costs_are_equal(outcome.records), *tiny_weights_cost_the_same(options.archs)]
    print_table(rows, console)
    broken = sum(not row.passed for row in rows)
    console.print(f"{len(rows) - broken} of {len(rows)} costs are equal, in {options.processes} processes")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
