"""Print the share of the machine's limit that the steps of small models reach inside a compiled loop.

    python -m tests.perf.limits [--archs "lstm;gru"] [--widths 32,128] [--positions 1,512] [--rounds 5]

Each round measures the limits and runs a stream. The table has the best of all rounds of both, and the spread of the
limit: how far its median lies below the best. The exit code is 1 if a step passes its limit by more than the spread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

import torch

import arch
from bench.machine.timer import seconds_per_call
from bench.plugins.loader import load
from bench.probes.roofline import multiply_add_rates, read_rates
from results import attainable

ARCHS = ("rnn", "lstm", "gru", "transformer", "lstm:block=residual,conv=4,expansion=2", "light_gru")
PLUGINS = (Path(__file__).parents[2] / "examples" / "light_gru.py",)
"""The plugins whose architectures are in `ARCHS`."""
CHANNELS, OUTPUTS, DEPTH = 2, 2, 2
STEPS, STREAMS = 32, 20
"""Steps of a timed stream, and timed streams per round."""


@dataclass
class Limits:
    """What a step needs, and all samples of the machine's limits at that size."""

    step_bytes: int
    step_flops: int
    bandwidths: list[float] = field(default_factory=list)
    """Bytes per second of repeated reads of as much memory as the step moves."""
    peaks: list[float] = field(default_factory=list)
    """FLOP/s of multiply-adds in registers."""

    @staticmethod
    def of(model: arch.SequenceModel, position: int, steps: int) -> Limits:
        """Return the mean needs of `steps` steps from a position of a single stream. Nothing is measured yet."""
        positions = range(position, position + steps)
        return Limits(_mean(map(model.step_bytes, positions)), _mean(map(model.step_flops, positions)))

    def measure(self) -> None:
        """Measure the limits once more, with as many threads as torch uses."""
        threads = torch.get_num_threads()
        for cached in (read_rates, multiply_add_rates):
            cached.cache_clear()
        self.bandwidths += read_rates(self.step_bytes, "cpu", threads, seconds_per_call)
        self.peaks += multiply_add_rates(threads, seconds_per_call)

    @property
    def seconds(self) -> float:
        """The shortest time of a step, by the binding limit and the best samples."""
        return self.step_flops / attainable(self.step_flops, self.step_bytes, max(self.peaks), max(self.bandwidths))

    @property
    def reads_bind(self) -> bool:
        """Whether reading takes longer than the arithmetic."""
        return self.step_bytes / max(self.bandwidths) >= self.step_flops / max(self.peaks)

    @property
    def spread(self) -> float:
        """How far the median bandwidth lies below the best, relative to the best."""
        return 1 - median(self.bandwidths) / max(self.bandwidths)


@dataclass
class Case:
    """A model at a position, its best step so far, and its limits."""

    name: str
    width: int
    position: int
    model: arch.SequenceModel = field(init=False)
    limits: Limits = field(init=False)
    step_seconds: float = float("inf")

    def __post_init__(self) -> None:
        load(PLUGINS)
        built = arch.build(self.name, channels=CHANNELS, outputs=OUTPUTS, width=self.width, depth=DEPTH, seed=0)
        self.model = built.eval()
        self.limits = Limits.of(self.model, self.position, STEPS)

    def measure(self) -> None:
        """Measure the limits and the steps once more, in turns."""
        self.limits.measure()
        x_BTD = torch.randn(1, self.position + STEPS, CHANNELS)
        times_T = torch.zeros(STEPS + 1, dtype=torch.int64)
        with torch.inference_mode():
            _, past = self.model.scan(x_BTD[:, : self.position], self.model.init_state(1))
            assert self.model.step_backend_for(x_BTD[:, 0], past) == "fused"
            for _ in range(STREAMS):
                self.model.stream(x_BTD[:, self.position :], arch.copy_state(past), times_T)
                self.step_seconds = min(self.step_seconds, float(times_T[-1] - times_T[0]) / STEPS / 1e9)

    @property
    def share(self) -> float:
        """The fastest step's share of the binding limit."""
        return self.limits.seconds / self.step_seconds


def _mean(costs: Iterable[int | None]) -> int:
    known = [cost for cost in costs if cost is not None]
    assert known, "the architecture states no costs"
    return round(fmean(known))


def main() -> int:
    given = _arguments()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    columns = ("position", "step KiB", "GB/s", "GFLOP/s", "step µs", "share", "spread")
    print(f"{'':<48}" + "".join(f"{column:>10}" for column in columns))
    passed = False
    for name in given.archs.split(";"):
        for width in map(int, given.widths.split(",")):
            for position in map(int, given.positions.split(",")):
                case = Case(name, width, position)
                for _ in range(given.rounds):
                    case.measure()
                limits = case.limits
                rates = (max(limits.bandwidths) / 1e9, max(limits.peaks) / 1e9)
                numbers = (limits.step_bytes / 1024, *rates, 1e6 * case.step_seconds)
                print(
                    f"{f'{name} {DEPTH}×{width}':<48}{position:>10}"
                    + "".join(f"{number:>10.2f}" for number in numbers)
                    + f"{case.share:>10.0%}{limits.spread:>10.0%}",
                    flush=True,
                )
                passed = passed or case.share > 1 + limits.spread
    return int(passed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Steps inside a compiled loop against the machine's limits.")
    parser.add_argument("--archs", default=";".join(ARCHS))
    parser.add_argument("--widths", default="32,128")
    parser.add_argument("--positions", default="1,512")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
