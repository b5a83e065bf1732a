"""Models of Carousel, equivalent networks of torch.nn, and functions that time these models and networks."""

# Shape suffixes: B batch, T time, D channels, H width, O outputs

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import arch

OUTPUTS, DEPTH, HEADS = 8, 2, 2
RESAMPLES = 2000
RECURRENT: dict[str, tuple[Any, Any]] = {
    "rnn": (nn.RNN, nn.RNNCell),
    "lstm": (nn.LSTM, nn.LSTMCell),
    "gru": (nn.GRU, nn.GRUCell),
}
Clock = Callable[[], float]


class Sequences(nn.Module):
    """nn.RNN, nn.LSTM or nn.GRU with a readout."""

    def __init__(self, name: str, channels: int, width: int, outputs: int = OUTPUTS) -> None:
        super().__init__()
        self.mixer = RECURRENT[name][0](channels, width, DEPTH, batch_first=True)
        self.readout = nn.Linear(width, outputs)

    def forward(self, x_BTD: Tensor) -> Tensor:
        outputs: Tensor = self.readout(self.mixer(x_BTD)[0])
        return outputs

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTH, state = self.mixer(x_BD[:, None], state)
        return self.readout(y_BTH[:, 0]), state


class Cells(nn.Module):
    """A stack of nn.RNNCell, nn.LSTMCell or nn.GRUCell, with one cell per layer and a readout."""

    def __init__(self, name: str, channels: int, width: int) -> None:
        super().__init__()
        cell = RECURRENT[name][1]
        self.cells = nn.ModuleList([cell(channels if i == 0 else width, width) for i in range(DEPTH)])
        self.readout = nn.Linear(width, OUTPUTS)

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        states = []
        for cell, before in zip(self.cells, state or [None] * DEPTH, strict=True):
            after = cell(x_BD, before)
            states.append(after)
            x_BD = after[0] if isinstance(after, tuple) else after
        return self.readout(x_BD), states


class Encoder(nn.Module):
    """nn.TransformerEncoder with causal attention and the pre-norm block of `transformer`, but no position encoding."""

    def __init__(self, channels: int, width: int, outputs: int = OUTPUTS) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.inputs = nn.Linear(channels, width)
        self.mixer = nn.TransformerEncoder(layer, DEPTH, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.readout = nn.Linear(width, outputs)

    def forward(self, x_BTD: Tensor) -> Tensor:
        mask_TT = nn.Transformer.generate_square_subsequent_mask(x_BTD.shape[1])
        outputs: Tensor = self.readout(self.mixer(self.inputs(x_BTD), mask=mask_TT, is_causal=True))
        return outputs


def ours(spec: str, channels: int, width: int) -> arch.SequenceModel:
    return arch.build(spec, channels=channels, outputs=OUTPUTS, width=width, depth=DEPTH, seed=0)


def theirs(name: str, channels: int, width: int, outputs: int = OUTPUTS) -> nn.Module:
    return Encoder(channels, width, outputs) if name == "transformer" else Sequences(name, channels, width, outputs)


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds per call: `seconds[i][j]` is the mean over block j of contestant i.

    Blocks with equal j ran one after the other.
    """

    seconds: tuple[tuple[float, ...], ...]

    def median(self, contestant: int) -> float:
        return statistics.median(self.seconds[contestant])

    def ratio(self, contestant: int, by: int = 0) -> tuple[float, float, float]:
        """Return the ratio of the contestant's seconds to those of contestant `by`.

        The result is the median over blocks, and the limits of its 95% bootstrap interval.
        """
        ratios = np.array(self.seconds[contestant]) / np.array(self.seconds[by])
        draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
        low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
        return float(np.median(ratios)), float(low), float(high)


def interleaved(
    contestants: Sequence[Callable[[], object]],
    *,
    budget: float,
    least: int,
    most: int,
    clock: Clock,
    block: float = 0.02,
) -> Timed:
    """Time the contestants alternately, in blocks of calls, and return the seconds per call.

    Args:
        contestants: Functions to time.
        budget: Wall-clock seconds after which no new round of blocks starts, except to reach `least`.
        least: Smallest number of blocks per contestant.
        most: Largest number of blocks per contestant.
        clock: Returns the current time in seconds.
        block: Approximate seconds per block.
    """
    repeats = []
    started = time.perf_counter()
    for run in contestants:
        run()
        begun = clock()
        run()
        repeats.append(max(1, round(block / max(clock() - begun, 1e-6))))
    found: list[list[float]] = [[] for _ in contestants]
    while len(found[0]) < least or (len(found[0]) < most and time.perf_counter() - started < budget):
        for run, count, seconds in zip(contestants, repeats, found, strict=True):
            begun = clock()
            for _ in range(count):
                run()
            seconds.append((clock() - begun) / count)
    return Timed(tuple(map(tuple, found)))


def training_step(model: nn.Module, x_BTD: Tensor, y_BTO: Tensor) -> Callable[[], None]:
    """Return a function that runs a training step: forward, backward, gradient clipping and Adam."""
    optimiser = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        optimiser.zero_grad()
        (model(x_BTD) - y_BTO).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def streaming_step(model: Any, x_BD: Tensor, state: Any) -> Callable[[], None]:
    """Return a function that advances the streams of `state` by one step, each time with the same input."""
    kept = [state]

    def step() -> None:
        kept[0] = model.step(x_BD, kept[0])[1]

    return step
