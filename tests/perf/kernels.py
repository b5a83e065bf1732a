"""Time Carousel's kernels: the step inside a compiled loop, and ratios to torch.nn in training and streaming.

    python -m tests.perf.kernels [--archs lstm,gru] [--widths 32,64] [--lengths 32] [--batches 32] [--threads 1]
                                 [--only training|streaming|loop] [--seconds 480] [--clock wall|cpu] [--write PAGE]

There are three parts. All contestants of a part take turns in one process, block by block.

- *loop*: one step of a stream inside a compiled loop, called from Python, and in ONNX Runtime, with the machine's limit
  (`tests.perf.loop`). It takes about one minute.
- *training*: a training step, and that of torch.nn. The limit is the fastest matrix product of the same sizes.
- *streaming*: a step called from Python, and that of torch.nn.

A cell is one combination of sizes and threads. The ratio of a cell is torch.nn's time divided by Carousel's time: the
median over blocks, with its bootstrap interval. A figure is the geometric mean over all cells, with the worst cell.
The exit code is 1 if an aim of the loop or of a mean is missed, or if a ratio is below 1. Each missed aim is named.

`--clock cpu` counts processor time in training and streaming, for a machine that is not idle. Processor time does not
show what several threads save. The loop always counts wall-clock time. `--write` replaces the results in a page such as
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import onnxruntime
import torch

from bench.machine.hardware import cpu_name
from bench.probes.roofline import MAX_ROWS, Seconds, product_rates
from tests.perf import loop
from tests.perf.baselines import (
    RECURRENT,
    Cells,
    Clock,
    Encoder,
    interleaved,
    ours,
    streaming_step,
    theirs,
    training_step,
)
from tests.perf.figures import POSITION, Cell, Figure, by_size, by_width, means

ARCHS = ("rnn", "lstm", "gru", "transformer")
HEADING = "## Results\n"
"""Start of the part of a page that `--write` replaces. It ends with the page."""

Figures = dict[tuple[str, str], Figure]


def main() -> int:
    given = _arguments()
    torch.set_flush_denormal(True)
    clock: Clock = time.perf_counter if given.clock == "wall" else time.process_time
    figures: Figures = {}
    rows: list[loop.Row] = []
    parts = [given.only] if given.only else ["loop", "training", "streaming"]
    if "loop" in parts:
        for row in loop.measure(given.archs, given.widths):
            print(f"{row.label}: {1e6 * row.timed.median(0):,.2f} µs, {row.share():.0%} of the limit", flush=True)
            rows.append(row)
    if "training" in parts:
        # every cell has the same budget, and a slow cell exceeds its budget to complete three blocks
        seconds = _seconds_by(clock)
        for name, threads in product(given.archs, given.threads):
            _train(name, threads, given, clock, seconds, figures)
    if "streaming" in parts:
        torch.set_num_threads(1)
        with torch.inference_mode():
            for name in given.archs:
                _stream(name, given, clock, figures)
    aims = list(loop.aims(rows, loop.plain_bandwidth())) if rows else []
    aims += [figure.verdict() for figure in figures.values()]
    results = "\n\n".join(_results(list(figures.values()), rows, aims))
    print(f"\n{results}")
    if given.write is not None:
        page = given.write.read_text(encoding="utf-8")
        given.write.write_text(with_results(page, results), encoding="utf-8")
    return 0 if all(reached for _, reached in aims) else 1


def with_results(page: str, results: str) -> str:
    """Return the page with other results below the heading `Results`.

    Raises `ValueError` if this is not the last heading of level 2.
    """
    before, heading, after = page.partition(f"\n{HEADING}")
    if not heading or "\n## " in after:
        raise ValueError("the page must end with a section `## Results`")
    return f"{before}{heading}\n{results}\n"


def _results(figures: Sequence[Figure], rows: Sequence[loop.Row], aims: Sequence[tuple[str, bool]]) -> Iterator[str]:
    """Yield the blocks of the results, in Markdown."""
    command = shlex.join(["python", "-m", "tests.perf.kernels", *sys.argv[1:]])
    machine = f"{os.cpu_count()} cores, {cpu_name()}, {platform.system()}"
    versions = f"torch {torch.__version__.partition('+')[0]} and ONNX Runtime {onnxruntime.__version__}"
    yield f"The results are from one run of `{command}`.\nMachine: {machine}. Versions: {versions}."
    if rows:
        yield "### Inside a compiled loop"
        yield loop.table(rows)
    if figures:
        yield "### Against torch.nn"
        yield means(figures)
    if any(figure.counterpart == "training" for figure in figures):
        yield "### Training by size"
        yield by_size(figures)
    if any(figure.counterpart != "training" for figure in figures):
        yield "### Called steps by width"
        yield by_width(figures)
    yield "### Aims"
    yield "\n".join(f"- {'reached' if reached else 'missed'}: {line}" for line, reached in aims)


def _train(
    name: str, threads: int, given: argparse.Namespace, clock: Clock, seconds: Seconds, figures: Figures
) -> None:
    """Time the training steps of an architecture at all sizes.

    Args:
        name: Architecture.
        threads: Number of threads.
        given: Arguments of the command.
        clock: Returns the current time in seconds.
        seconds: Returns the mean seconds per call, by the same clock.
        figures: Receives the cells.
    """
    torch.set_num_threads(threads)
    cells = list(product(given.batches, given.lengths, given.widths))
    budget = given.seconds / len(given.archs) / len(given.threads) / len(cells)
    for batch, length, width in cells:
        x_BTD, y_BTO = torch.randn(batch, length, width), torch.randn(batch, length, 8)
        model = ours(name, width, width)
        steps = [training_step(one, x_BTD, y_BTO) for one in (model, theirs(name, width, width))]
        timed = interleaved(steps, budget=budget, least=3, most=15, clock=clock)
        flops = model.train_step_flops(batch, length)
        assert flops is not None
        rates = (
            rate
            for rows in {min(batch, MAX_ROWS), min(batch * length, MAX_ROWS)}
            for rate in product_rates(rows, width, "cpu", threads, seconds)
        )
        ratio, low, high = timed.ratio(1)
        cell = Cell(
            label=f"{name} training, {threads} thread(s), batch {batch}, T {length}, H {width}",
            ratio=ratio,
            low=low,
            high=high,
            width=width,
            length=length,
            threads=threads,
            share=flops / timed.median(0) / max(rates),
        )
        _add(figures, name, "training", cell, timed.median(0))


def _stream(name: str, given: argparse.Namespace, clock: Clock, figures: Figures) -> None:
    for width in given.widths:
        model, x_BD = ours(name, width, width), torch.randn(1, width)
        label = f"{name} called step, H {width}"
        if name == "transformer":
            x_BTD, encoder = torch.randn(1, POSITION, width), Encoder(width, width)
            past = model.scan(x_BTD[:, :-2], model.init_state(1))[1]
            past = model.step(x_BD, past)[1]  # the cache has room now: it grows by doubling, so most steps copy nothing
            contestants: list[Callable[[], object]] = [
                partial(model.step, x_BD, past),
                partial(encoder.eval(), x_BTD),
            ]
            timed = interleaved(contestants, budget=4, least=5, most=15, clock=clock)
            cell = Cell.of(timed, 1, label, width)
            _add(figures, name, f"recomputing at {POSITION:,}", cell, timed.median(0))
            continue
        others = [theirs(name, width, width), Cells(name, width, width)]
        contestants = [streaming_step(model, x_BD, model.init_state(1))]
        contestants += [streaming_step(other.eval(), x_BD, None) for other in others]
        timed = interleaved(contestants, budget=2, least=15, most=31, clock=clock)
        layer, cell_name = (kind.__name__ for kind in RECURRENT[name])
        if name == "lstm":
            pairs = {f"nn.{layer}, T=1": 1, f"nn.{cell_name}": 2}
        else:
            pairs = {f"the faster of nn.{layer}, nn.{cell_name}": min((1, 2), key=timed.median)}
        for other, contestant in pairs.items():
            cell = Cell.of(timed, contestant, f"{label} vs {other}", width)
            _add(figures, name, other, cell, timed.median(0))


def _add(figures: Figures, name: str, counterpart: str, cell: Cell, seconds: float) -> None:
    """Add a cell to its figure and print it.

    Args:
        figures: Figures by architecture and counterpart.
        name: Architecture.
        counterpart: What Carousel is compared with.
        cell: The cell.
        seconds: Carousel's time.
    """
    figures.setdefault((name, counterpart), Figure(name, counterpart)).cells.append(cell)
    share = "" if cell.share is None else f", {cell.share:.0%} of the limit"
    interval = f"{cell.ratio:>6.2f}× [{cell.low:.2f}, {cell.high:.2f}]"
    print(f"{cell.label:<66} {1e6 * seconds:>10,.1f} µs  {interval}{share}", flush=True)


def _seconds_by(clock: Clock) -> Seconds:
    """Return a function that times calls with a clock."""

    def seconds(call: Callable[[], object], calls: int, device: torch.device) -> float:
        begun = clock()
        for _ in range(calls):
            call()
        return (clock() - begun) / calls

    return seconds


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    def names(text: str) -> Sequence[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in ARCHS:
                raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(ARCHS)}")
        return chosen

    parser = argparse.ArgumentParser(description="Carousel's kernels: compiled loops, ONNX Runtime and torch.nn.")
    parser.add_argument("--archs", type=names, default=ARCHS)
    parser.add_argument("--widths", type=numbers, default=[32, 64, 128, 256])
    parser.add_argument("--lengths", type=numbers, default=[32, 128, 512])
    parser.add_argument("--batches", type=numbers, default=[32, 64])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--only", choices=["training", "streaming", "loop"])
    parser.add_argument("--seconds", type=float, default=300.0, help="about how long the training part may take")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--write", type=Path, help="page whose last section, `## Results`, is replaced")
    given = parser.parse_args()
    if given.write is not None and given.only is not None:
        parser.error("--write needs the results of all parts; leave out --only")
    if given.write is not None:
        try:
            with_results(given.write.read_text(encoding="utf-8"), "")
        except (OSError, ValueError) as error:
            parser.error(f"cannot write results to {given.write}: {error}")
    return given


if __name__ == "__main__":
    sys.exit(main())
