"""Compare the costs of all architectures at one budget, in one process.

    python -m tests.perf.registry [--rounds 15] [--params 20000] [--write docs/performance.md]

Every architecture has two layers, one channel in and one number out. A training step is a forward and a backward pass
of 32 sequences of 128 steps, on one thread, which keeps freed memory and flushes denormal numbers as the workers of a
run do. The architectures take turns, so that a slow phase of the machine meets all of them. Each ratio is the median
over the rounds, with the quartiles. The equations are those of `backend=reference`. The growth is the time of a
training step of four sequences of 4,096 steps, divided by eight times that of 512 steps: 1 if the cost is linear in the
length. The step of a stream is the median inside a compiled loop. Use a quiet machine.
"""

from __future__ import annotations

import argparse
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import arch
from arch import SequenceModel, state_bytes
from bench.machine.allocator import keep_freed_memory

BATCH, LENGTH, DEPTH = 32, 128, 2
SHORT, LONG, FEW = 512, 4096, 4
"""Lengths in steps between which the growth is measured, and the number of sequences."""
STREAM_STEPS = 2_000
EQUATION_ROUNDS, GROWTH_ROUNDS = 3, 5
BASELINE = "lstm"
AIMED, MAX_RATIO, MIN_GAIN = ("diagonal", "matrix"), 2.0, 3.0
"""Families with aims, the largest ratio to `lstm`, and how much faster than the equations kernels should be."""
HEADING = "## Architectures at one budget"
"""Heading of the section that `--write` replaces. It ends before the next heading of the same level."""


def training_step(model: SequenceModel, batch: int = BATCH, length: int = LENGTH) -> Callable[[], float]:
    """Return a function that runs one training step of a model, and returns its seconds."""
    x_BTD = torch.randn(batch, length, 1, generator=torch.Generator().manual_seed(0))

    def run() -> float:
        model.zero_grad()
        began = time.perf_counter()
        model(x_BTD).square().mean().backward()
        return time.perf_counter() - began

    return run


def growth(model: SequenceModel) -> float:
    """Return the time of a long training step, divided by that of a short one and by the ratio of their lengths."""
    short, long = (training_step(model, FEW, length) for length in (SHORT, LONG))
    short(), long()  # the first call allocates
    ratios = [long() / short() for _ in range(GROWTH_ROUNDS)]
    return statistics.median(ratios) * SHORT / LONG


def stream_seconds(model: SequenceModel) -> float:
    """Return the median seconds of a step inside a compiled loop, after as many steps as a training sequence has."""
    x_TBD = torch.randn(1, LENGTH + STREAM_STEPS, 1, generator=torch.Generator().manual_seed(0))
    times = torch.zeros(STREAM_STEPS + 1, dtype=torch.int64)
    with torch.inference_mode():
        _, state = model.stream(x_TBD[:, :LENGTH], model.init_state(1))
        model.stream(x_TBD[:, LENGTH:], state, times)
    return float(times.diff().median()) / 1e9


def measure(rounds: int, params: int) -> list[str]:
    """Return the table of costs as lines of Markdown."""
    names = arch.names()
    models = {name: arch.build(name, channels=1, outputs=1, params=params, depth=DEPTH, seed=0) for name in names}
    steps = {name: training_step(model) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name, step in steps.items():
            passed = step()
            if number:  # the first round compiles and allocates
                seconds[name].append(passed)
    equations = {}
    for name in names:
        reference = arch.build(name, channels=1, outputs=1, params=params, depth=DEPTH, seed=0)
        for layer in reference.layers:
            layer.backend = "reference"  # type: ignore[assignment]
        step = training_step(reference)
        step()
        equations[name] = statistics.median(step() for _ in range(EQUATION_ROUNDS))
    lines = [
        "| architecture | width | training step | times `lstm` | equations, times kernels | growth | step in the loop "
        "| state |",
        "|---|---|---|---|---|---|---|---|",
    ]
    slow, small = [], []
    for name in sorted(names, key=lambda name: statistics.median(seconds[name])):
        model = models[name]
        ratios = [own / base for own, base in zip(seconds[name], seconds[BASELINE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        state = state_bytes(model.init_state(1))
        with torch.inference_mode():
            state = state_bytes(model.scan(torch.zeros(1, LENGTH, 1), model.init_state(1))[1])
        own = statistics.median(seconds[name])
        if arch.get(name).layer.family in AIMED:
            slow += [f"`{name}`"] if middle > MAX_RATIO else []
            small += [f"`{name}`"] if equations[name] / own < MIN_GAIN else []
        lines.append(
            f"| `{name}` | {model.width} | {1e3 * own:.1f} ms | {middle:.2f} ({low:.2f}–{high:.2f}) | "
            f"{equations[name] / own:.1f} | {growth(model):.2f} | {1e6 * stream_seconds(model):.2f} µs | {state:,} B |"
        )
    return [
        *lines,
        "",
        "The aim for diagonal recurrences and matrix memories is a training step of at most "
        f"{MAX_RATIO:g} times `lstm`,",
        f"by kernels that are {MIN_GAIN:g} times as fast as the equations. The step is longer for",
        f"{', '.join(slow) or 'none'}.",
        f"The kernels gain less for {', '.join(small) or 'none'}.",
    ]


def main() -> None:
    """Print the table, and replace it in a page if one is given."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf.registry", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=15, help="training steps per architecture (default: %(default)s)")
    parser.add_argument("--params", type=int, default=20_000, help="parameters per model (default: %(default)s)")
    parser.add_argument("--write", type=Path, help=f"page whose section `{HEADING}` is replaced")
    given = parser.parse_args()
    keep_freed_memory()  # as the workers of a run do
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    table = measure(given.rounds, given.params)
    text = "\n".join(table)
    print(text)
    if given.write is not None:
        page = given.write.read_text(encoding="utf-8")
        command = "python -m tests.perf.registry --write docs/performance.md"
        section = (
            f"{HEADING}\n\nFrom one run of `{command}` on {processor()}:\n"
            f"{given.params:,} parameters, {DEPTH} layers, one thread, which keeps freed memory and flushes denormal\n"
            f"numbers as the workers of a run do. A training step has {BATCH} sequences of {LENGTH} steps. The\n"
            f"ratios are medians with quartiles. The growth is the time of {LONG:,} steps, divided by\n"
            f"{LONG // SHORT} times that of {SHORT} steps. State is that of one stream after {LENGTH} steps.\n\n"
            f"{text}\n\n"
        )
        found = re.search(rf"{re.escape(HEADING)}\n.*?(?=^## )", page, flags=re.DOTALL | re.MULTILINE)
        place = page.index("## Results") if found is None else found.start()
        rest = page[place if found is None else found.end() :]
        given.write.write_text(page[:place] + section + rest, encoding="utf-8")


def processor() -> str:
    """Return the name of the processor."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
