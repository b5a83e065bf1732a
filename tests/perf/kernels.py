"""Compare Carousel's kernels with torch.nn: ratios of times in one process, and shares of the machine's limit.

    python -m tests.perf.kernels [--archs lstm,gru] [--widths 32,64] [--lengths 32] [--batches 32] [--threads 1]
                                 [--only training|streaming] [--seconds 480] [--clock wall|cpu]

Carousel and torch.nn take turns, block by block. A cell is one combination of sizes and threads. The ratio of a cell
is torch.nn's time divided by Carousel's time: the median over blocks, with its bootstrap interval. A figure is the
geometric mean over all cells, with the worst cell. The exit code is 1 if a mean misses its aim, or if a ratio is
below 1.

`--clock cpu` counts processor time, for a machine that is not idle. Processor time does not show what several threads
save. The limit in training is the FLOP/s of the fastest product of large matrices. The limit in streaming is the
bandwidth of repeated reads of a vector as large as the weights.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import torch

import arch
from tests.perf.baselines import (
    DEPTH,
    RECURRENT,
    Cells,
    Clock,
    Encoder,
    Timed,
    interleaved,
    ours,
    streaming_step,
    theirs,
    training_step,
)

ARCHS = ("rnn", "lstm", "gru", "transformer")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}
POSITION = 1024
"""Number of steps that are recomputed. The cached step computes only the last of these steps."""
FIGURES = {
    ("rnn", "training"): 2.0,
    ("lstm", "training"): 1.3,
    ("gru", "training"): 2.5,
    ("transformer", "training"): 1.15,
    ("rnn", "the faster of nn.RNN, nn.RNNCell"): 2.0,
    ("lstm", "nn.LSTM, T=1"): 8.0,
    ("lstm", "nn.LSTMCell"): 2.5,
    ("gru", "the faster of nn.GRU, nn.GRUCell"): 2.5,
    ("transformer", f"recomputing at {POSITION}"): 100.0,
}
TRAINING_SHARE, STREAMING_SHARE = 0.6, 0.5


@dataclass
class Figure:
    """One row of the final table: (label, ratio, low, high) of each cell, and shares of the machine's limit."""

    cells: list[tuple[str, float, float, float]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


Figures = dict[tuple[str, str], Figure]


def main() -> int:
    given = _arguments()
    torch.set_flush_denormal(True)
    clock: Clock = time.perf_counter if given.clock == "wall" else time.process_time
    figures: Figures = {}
    grid = list(product(given.archs, given.threads))
    if given.only != "streaming":
        # every cell has the same budget, and a slow cell exceeds its budget to complete three blocks
        for name, threads in grid:
            _train(name, threads, given, clock, figures.setdefault((name, "training"), Figure()))
    if given.only != "training":
        torch.set_num_threads(1)
        with torch.inference_mode():
            for name in given.archs:
                _stream(name, given, clock, figures)
    return _conclude(figures)


def _train(name: str, threads: int, given: argparse.Namespace, clock: Clock, figure: Figure) -> None:
    torch.set_num_threads(threads)
    limit = _best_product(clock)
    cells = list(product(given.batches, given.lengths, given.widths))
    budget = given.seconds / len(given.archs) / len(given.threads) / len(cells)
    for batch, length, width in cells:
        x_BTD, y_BTO = torch.randn(batch, length, width), torch.randn(batch, length, 8)
        models = (ours(name, width, width), theirs(name, width, width))
        steps = [training_step(model, x_BTD, y_BTO) for model in models]
        timed = interleaved(steps, budget=budget, least=3, most=15, clock=clock)
        share = 3 * _forward_operations(name, batch, length, width) / timed.median(0) / limit
        label = f"{name} training, {threads} thread(s), batch {batch}, T {length}, H {width}"
        _add(figure, label, timed, 1, share)


def _stream(name: str, given: argparse.Namespace, clock: Clock, figures: Figures) -> None:
    for width in given.widths:
        model, x_BD = ours(name, width, width), torch.randn(1, width)
        label = f"{name} streaming, H {width}"
        if name == "transformer":
            figure = figures.setdefault((name, f"recomputing at {POSITION}"), Figure())
            x_BTD, encoder = torch.randn(1, POSITION, width), Encoder(width, width)
            past = model.scan(x_BTD[:, :-2], model.init_state(1))[1]
            past = model.step(x_BD, past)[1]  # the cache has room now: it grows by doubling, so most steps copy nothing
            contestants: list[Callable[[], object]] = [
                partial(model.step, x_BD, past),
                partial(encoder.eval(), x_BTD),
            ]
            _add(figure, label, interleaved(contestants, budget=4, least=5, most=15, clock=clock), 1, None)
            continue
        others = [theirs(name, width, width), Cells(name, width, width)]
        contestants = [streaming_step(model, x_BD, model.init_state(1))]
        contestants += [streaming_step(other.eval(), x_BD, None) for other in others]
        timed = interleaved(contestants, budget=2, least=15, most=31, clock=clock)
        weights = 4 * arch.parameter_count(model)
        share = weights / timed.median(0) / _bandwidth(weights, clock)
        layer, cell = (kind.__name__ for kind in RECURRENT[name])
        if name == "lstm":
            pairs = {f"nn.{layer}, T=1": 1, f"nn.{cell}": 2}
        else:
            pairs = {f"the faster of nn.{layer}, nn.{cell}": min((1, 2), key=timed.median)}
        for other, contestant in pairs.items():
            _add(figures.setdefault((name, other), Figure()), f"{label} vs {other}", timed, contestant, share)


def _add(figure: Figure, label: str, timed: Timed, contestant: int, share: float | None) -> None:
    ratio, low, high = timed.ratio(contestant)
    figure.cells.append((label, ratio, low, high))
    of_limit = ""
    if share is not None:
        figure.shares.append(share)
        of_limit = f", {share:.0%} of the limit"
    seconds = timed.median(0)
    print(f"{label:<66} {1e6 * seconds:>10,.1f} µs  {ratio:>6.2f}× [{low:.2f}, {high:.2f}]{of_limit}", flush=True)


def _conclude(figures: Figures) -> int:
    print(f"\n{'figure':<56} {'mean':>7} {'interval':>16} {'worst':>7} {'limit':>6}  aim")
    missed = []
    for (name, what), figure in figures.items():
        ratios, lows, highs = zip(*[cell[1:] for cell in figure.cells], strict=True)
        mean, low, high = (statistics.geometric_mean(column) for column in (ratios, lows, highs))
        aim = FIGURES[name, what]
        share = f"{statistics.geometric_mean(figure.shares):.0%}" if figure.shares else ""
        label = f"{name}: {'training step' if what == 'training' else 'streaming step vs ' + what}"
        interval = f"[{low:.2f}, {high:.2f}]"
        print(f"{label:<56} {mean:>6.2f}× {interval:>16} {min(ratios):>6.2f}× {share:>6}  ≥ {aim:g}×")
        if mean < aim or min(ratios) < 1:
            worst = min(figure.cells, key=lambda cell: cell[1])[0]
            missed.append(f"{label}: {mean:.2f}× of {aim:g}×, the worst {min(ratios):.2f}× at {worst}")
    print(f"(aims of the limit: {TRAINING_SHARE:.0%} in training, {STREAMING_SHARE:.0%} in streaming)")
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


def _forward_operations(name: str, batch: int, length: int, width: int) -> float:
    """Return the FLOPs of the matrix products in a forward pass. A training step takes three times as many FLOPs.

    Args:
        name: Architecture.
        batch: Sequences per batch.
        length: Time steps per sequence.
        width: Units per layer, and channels of the input.
    """
    steps = batch * length
    if name == "transformer":
        attention = 4 * width * (length + 1) / 2  # the causal half of two products
        return DEPTH * steps * (24 * width**2 + attention) + steps * 2 * width * (width + 8)
    return DEPTH * steps * 4 * GATES[name] * width**2 + steps * 16 * width


def _best_product(clock: Clock) -> float:
    """Measure the FLOP/s of the fastest of 15 products of large matrices, with the current number of threads."""
    one, other = torch.randn(1024, 1024), torch.randn(1024, 1024)
    one @ other
    seconds = []
    for _ in range(15):
        begun = clock()
        one @ other
        seconds.append(clock() - begun)
    return 2 * 1024**3 / min(seconds)


def _bandwidth(size: int, clock: Clock) -> float:
    """Measure the bytes per second of repeated reads of `size` bytes by one thread."""
    numbers = torch.randn(size // 4)
    repeats, seconds = max(1, int(2e7 // size)), []
    for _ in range(7):
        begun = clock()
        for _ in range(repeats):
            numbers.dot(numbers)
        seconds.append((clock() - begun) / repeats)
    return size / min(seconds)


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    def names(text: str) -> Sequence[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in ARCHS:
                raise argparse.ArgumentTypeError(f"{name} is not one of {', '.join(ARCHS)}")
        return chosen

    parser = argparse.ArgumentParser(description="Carousel's kernels against torch.nn.")
    parser.add_argument("--archs", type=names, default=ARCHS)
    parser.add_argument("--widths", type=numbers, default=[32, 64, 128, 256])
    parser.add_argument("--lengths", type=numbers, default=[32, 128, 512])
    parser.add_argument("--batches", type=numbers, default=[32, 64])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--only", choices=["training", "streaming"])
    parser.add_argument("--seconds", type=float, default=300.0, help="about how long the training part may take")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
