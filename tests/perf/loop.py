"""The step inside a compiled loop: beside a call from Python, ONNX Runtime, and the limit of the machine.

Each case is a model at a position of a stream. Its contestants take turns in one process, in a new random order each
round. The clock that compiled code reads measures the loop. A burst starts from a copy of the stream's state. Its first
step is not timed, because it checks the new state. Caches have room, so no timed step enlarges them. The loop and the
calls from Python run the same steps. ONNX Runtime is compared in recurrent models only (`tests.perf.onnx_step`).

A time is the median over rounds. Its spread is half the distance of the quartiles, relative to the median. The limit is
the time that the step's bytes take at the best bandwidth, or the step's FLOPs at the best peak, whichever is longer.
"""

# Shape suffixes: B batch, T time, D channels, R clock readings

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch

import arch
from arch.core.attention.cache import Cache, reserve
from arch.kernels import loop_clock_seconds
from tests.perf.baselines import RECURRENT, Timed, ours
from tests.perf.limits import Limits
from tests.perf.onnx_step import OnnxStep

STEPS = {"rnn": 64, "lstm": 64, "gru": 64, "transformer": 16}
"""Steps per burst. Few, so that inputs stay in the smallest cache, and so that a transformer stays at its position."""
POSITIONS = (1, 128, 1024, 8192)
"""Positions of the transformer. The steps of the other architectures cost the same at each position."""
BLOCK_SECONDS = 0.003
TURNS, ROUNDS = 3, 11
"""Turns of a case, and rounds per turn. The limits are measured at the start of each turn."""
MIN_ROUNDS, TURN_SECONDS = 3, 1.2
"""A turn that takes longer than `TURN_SECONDS` ends after `MIN_ROUNDS` rounds."""

BANDWIDTH_WIDTH, MIN_BANDWIDTH_SHARE = 256, 0.8
SMALL_WIDTH, SMALL_SECONDS, SMALL_BANDWIDTH, SMALL_FOOTPRINT = 32, 1e-6, 100e9, 1 << 20
"""Aim of a small step, the bandwidth that it refers to, and the bytes that are read to measure this bandwidth."""
CACHE_POSITION, MAX_TIMES_LIMIT = 128, 2.0
"""A transformer must come within this factor of its limit from this position on."""
MAX_CALL_SECONDS, MAX_CALLED_STEP_SECONDS = 5e-6, 50e-6
"""Largest time that a call of `model.step` may add to the step, and the longest step for which this is an aim.

In a longer step, memory costs more than the call: it must be read again after Python has used the caches."""

Burst = Callable[[], float]
"""Function that runs a burst of steps and returns the seconds per step."""


@dataclass(frozen=True, slots=True)
class Row:
    """The timings and limits of one case."""

    name: str
    width: int
    position: int | None
    """None if the position does not matter."""
    limits: Limits
    timed: Timed
    """Contestants: the loop, the calls from Python, and ONNX Runtime if it has such a step."""

    @property
    def label(self) -> str:
        place = "" if self.position is None else f" at {self.position:,}"
        return f"`{self.name}` 2×{self.width}{place}"

    def share(self, contestant: int = 0) -> float:
        """Return the contestant's share of the binding limit."""
        return self.limits.seconds / self.timed.median(contestant)

    @property
    def bandwidth_share(self) -> float:
        """The loop's share of the read bandwidth, whatever the binding limit is."""
        return self.limits.step_bytes / max(self.limits.bandwidths) / self.timed.median(0)

    def call_seconds(self) -> tuple[float, float]:
        """Return what a call from Python adds to a step: the median over rounds, and its lower 95% bootstrap bound."""
        added = np.subtract(self.timed.seconds[1], self.timed.seconds[0])
        draws = np.random.default_rng(0).choice(added, (2000, len(added)))
        return float(np.median(added)), float(np.quantile(np.median(draws, axis=1), 0.025))

    def spread(self, contestant: int) -> float:
        """Return half the distance of the quartiles of a contestant's times, relative to their median."""
        low, middle, high = np.quantile(self.timed.seconds[contestant], [0.25, 0.5, 0.75])
        return float((high - low) / 2 / middle)


@dataclass(slots=True)
class _Bursts:
    """Bursts of steps of one model, from copies of one state."""

    model: arch.SequenceModel
    past: list[arch.State]
    """The state one step before the first timed step."""
    x_BTD: torch.Tensor
    """Inputs of the untimed step and the timed ones."""
    times_R: torch.Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.int64))

    def in_loop(self) -> float:
        state = self._begin()
        steps = self.x_BTD.shape[1] - 1
        self.model.stream(self.x_BTD[:, 1:], state, self.times_R)
        begun, ended = self.times_R.tolist()
        return float(ended - begun) / 1e9 / steps

    def called(self) -> float:
        state, step = self._begin(), self.model.step
        inputs = self.x_BTD[:, 1:].unbind(1)
        begun = time.perf_counter()
        for x_BD in inputs:
            _, state = step(x_BD, state)
        return (time.perf_counter() - begun) / len(inputs)

    def _begin(self) -> list[arch.State]:
        return self.model.step(self.x_BTD[:, 0], arch.copy_state(self.past))[1]


def measure(names: Iterable[str], widths: Iterable[int]) -> Iterator[Row]:
    """Measure each case and yield its row. The number of threads is 1 from then on."""
    if loop_clock_seconds() is None:
        raise SystemExit("Compiled code cannot read the clock here. Pass --only training or --only streaming instead.")
    torch.set_num_threads(1)
    order = random.Random(0)
    for name in names:
        for width in widths:
            for position in (None,) if name in RECURRENT else POSITIONS:
                with torch.inference_mode():
                    yield measure_case(name, width, position, order)


def measure_case(
    name: str, width: int, position: int | None, order: random.Random, turns: int = TURNS, rounds: int = ROUNDS
) -> Row:
    """Measure one case: its limits, and the steps of all contestants in turns.

    Args:
        name: Architecture.
        width: Units per layer, and channels of the input.
        position: Steps before the first timed step, or None if they do not matter.
        order: Generator of the order of the contestants in each round.
        turns: Number of turns. The limits are measured in each turn.
        rounds: Rounds per turn.
    """
    model, steps, first = ours(name, width, width).eval(), STEPS[name], position or 1
    x_BTD = torch.randn(1, 1 + steps, width, generator=torch.Generator().manual_seed(0))
    past = past_of(model, first - 1, 1 + steps)
    if model.step_backend_for(x_BTD[:, 0], past) != "fused":
        raise SystemExit(f"The step of {name} is not compiled here. Pass --only training or --only streaming instead.")
    bursts = _Bursts(model, past, x_BTD)
    contestants: list[Burst] = [bursts.in_loop, bursts.called]
    if name in RECURRENT:
        contestants.append(_onnx_burst(OnnxStep(name, model), steps))
    repeats = [max(1, round(BLOCK_SECONDS / steps / _second(burst))) for burst in contestants]
    limits = Limits.of(model, first, steps)
    seconds: list[list[float]] = [[] for _ in contestants]
    for _ in range(turns):
        limits.measure()
        begun = time.perf_counter()
        for done in range(rounds):
            if done >= MIN_ROUNDS and time.perf_counter() - begun > TURN_SECONDS:
                break
            for i in order.sample(range(len(contestants)), len(contestants)):
                seconds[i].append(median(contestants[i]() for _ in range(repeats[i])))
    return Row(name, width, position, limits, Timed(tuple(map(tuple, seconds))))


def past_of(model: arch.SequenceModel, steps: int, free: int) -> list[arch.State]:
    """Return a state after `steps` steps. A cache has at least `free` free slots, so that it need not grow soon.

    Cached keys and values are random, because computing them takes long.
    """
    if steps == 0:
        states = model.init_state(1)
    else:
        _, states = model.scan(torch.zeros(1, 1, model.width), model.init_state(1))
    return [_cache(state, steps, free) if isinstance(state, Cache) else state for state in states]


def _cache(like: Cache, steps: int, free: int) -> Cache:
    B, N, _, K = like.keys_BNSK.shape
    return reserve(Cache(torch.randn(B, N, steps, K), torch.randn(B, N, steps, K), steps, steps), free, None)


def _onnx_burst(onnx: OnnxStep, steps: int) -> Burst:
    onnx.x_TBD[:] = torch.randn(onnx.x_TBD.shape, generator=torch.Generator().manual_seed(0)).numpy()

    def burst() -> float:
        step = onnx.step
        step()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - begun) / steps

    return burst


def _second(burst: Burst) -> float:
    """Return the result of the second of two bursts. The first one is slower."""
    burst()
    return burst()


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table. Times are in microseconds."""
    lines = [
        "| model | in the loop | called | ONNX Runtime | limit | binds | share | ONNX share | call adds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = [f"{_micro(row.timed.median(i))} ±{row.spread(i):.0%}" for i in range(len(row.timed.seconds))]
        onnx_share = f"{row.share(2):.0%}" if len(times) > 2 else ""
        binding = f"{max(row.limits.bandwidths) / 1e9:.0f} GB/s" if row.limits.reads_bind else "FLOPs"
        cells = [row.label, *times, *[""] * (3 - len(times)), _micro(row.limits.seconds), binding, f"{row.share():.0%}"]
        lines.append("| " + " | ".join([*cells, onnx_share, _micro(row.call_seconds()[0])]) + " |")
    return "\n".join(lines)


def plain_bandwidth() -> float:
    """Return the bytes per second of a plain loop that reads `SMALL_FOOTPRINT` bytes again and again."""
    limits = Limits(SMALL_FOOTPRINT, 0)
    limits.measure()
    return max(limits.bandwidths)


def small_step_aim(bandwidth: float) -> float:
    """Return the aim of a small step in seconds, on a machine where a plain loop reads `bandwidth` bytes per second.

    The aim is 1 µs at 100 GB/s. A faster machine must be faster in proportion. A slower one gets no more than 1 µs.
    """
    return SMALL_SECONDS * min(1.0, SMALL_BANDWIDTH / bandwidth)


def aims(rows: Iterable[Row], bandwidth: float) -> Iterator[tuple[str, bool]]:
    """Yield each aim that applies to the rows, with what was measured, and whether it is reached.

    `bandwidth` is the result of `plain_bandwidth`.
    """
    for row in rows:
        seconds = row.timed.median(0)
        if row.name in RECURRENT and row.width == BANDWIDTH_WIDTH:
            share = row.bandwidth_share
            yield (
                f"{row.label}: {share:.0%} of {MIN_BANDWIDTH_SHARE:.0%} of the bandwidth",
                share >= MIN_BANDWIDTH_SHARE,
            )
        if row.name in RECURRENT and row.width == SMALL_WIDTH:
            aim = small_step_aim(bandwidth)
            told = f"{_micro(seconds)} of {_micro(aim)} µs (a plain loop reads {bandwidth / 1e9:.0f} GB/s)"
            yield f"{row.label}: {told}", seconds <= aim
        if row.position is not None and row.position >= CACHE_POSITION:
            factor = seconds / row.limits.seconds
            yield f"{row.label}: {factor:.2f} of {MAX_TIMES_LIMIT:g} times the limit", factor <= MAX_TIMES_LIMIT
        if seconds > MAX_CALLED_STEP_SECONDS:
            continue
        added, low = row.call_seconds()
        told = f"a call adds {_micro(added)} (at least {_micro(low)}) of {_micro(MAX_CALL_SECONDS)} µs"
        yield f"{row.label}: {told}", low <= MAX_CALL_SECONDS


def _micro(seconds: float) -> str:
    """Format seconds in microseconds, with two digits behind the point below 10 µs."""
    return f"{1e6 * seconds:.2f}" if abs(seconds) < 1e-5 else f"{1e6 * seconds:,.1f}"
