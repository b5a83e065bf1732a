"""What must hold where there is a GPU: run it there, as no machine without one can.

    python -m tests.gpu

The laws of every built-in architecture hold on the device, in float64; in float32 a model gives there what it gives
on the processor. A step that keeps its shapes is replayed from a CUDA graph, one whose state grows is taken by hand.
A GPU's clock agrees with the processor's for work that fills both. A small plan runs whole, is verified, and is
compared with its own repetition. Prints a line a promise; exits with 1 where one is broken.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import arch
from bench.machine.timer import seconds_per_call
from bench.probes.stream import ByHand, Replayed, stream_of
from bench.validation import ARCH_CHECKS, LEVELS, Subject, Trial

DEVICE = torch.device("cuda")
SPECS = ("rnn", "lstm", "gru", "transformer", "transformer:window=8")
REPLAYED = ("rnn", "lstm", "gru")
"""Whose state keeps its shapes and its values' places, so that a graph can hold a step."""
WIDTH, TOKENS, STEPS = 16, 10, 64
SINGLE = 2e-4
"""Float32 outputs of two devices: sums in other orders, over a hundred steps."""
CLOCKS = 0.1
"""Of the time that a second of products takes, by the two clocks."""

PLAN = """
summary = "every probe on a GPU"
archs = ["rnn", "lstm", "gru", "transformer", "transformer:window=16"]
tasks = ["first_last"]
lengths = [32]
seeds = 1
width = 32
measure = ["accuracy", "latency", "streaming", "gates"]

[protocol]
steps = 60
evaluate_every = 20
validation_sequences = 64
test_sequences = 256
evaluate_at = ["1x", "2x"]

[timing]
positions = [1, 64, 256]
steps = 50
blocks = 4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevice(Trial):
    """A trial whose module and inputs are on the GPU."""

    def subject(self) -> Subject:
        here = super(OnDevice, self).subject()

        def draw(batch: int, steps: int, seed: int = 0) -> Tensor:
            return here.draw(batch, steps, seed).to(DEVICE)

        return Subject(module=here.module.to(DEVICE), draw=draw)


def laws() -> Iterator[str]:
    for spec in SPECS:
        for level in LEVELS:
            for name, law in ARCH_CHECKS.items():
                try:
                    law(OnDevice(package=arch, spec=spec, level=level, width=WIDTH))
                except (AssertionError, RuntimeError, ValueError) as error:
                    yield f"{spec}, {LEVELS[level]}, {name}: {str(error).splitlines()[0]}"


def same_as_the_processor() -> Iterator[str]:
    for spec in SPECS:
        model = arch.build(spec, outputs=TOKENS, vocabulary=TOKENS, width=WIDTH, seed=1)
        inputs = torch.randint(TOKENS, (4, STEPS), generator=torch.Generator().manual_seed(1))
        expected = model(inputs)
        expected.square().mean().backward()
        gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad(set_to_none=True)
        found = model.to(DEVICE)(inputs.to(DEVICE))
        found.square().mean().backward()
        there = [weight.grad for weight in model.parameters() if weight.grad is not None]
        for what, ours, theirs in (
            ("outputs", [found], [expected]),
            ("gradients", there, gradients),
        ):
            apart = max(
                float((one.cpu() - other).abs().max().detach()) for one, other in zip(ours, theirs, strict=True)
            )
            if not apart <= SINGLE:
                yield f"{spec}: {what} are {apart:.2g} apart"


def replays() -> Iterator[str]:
    for spec in SPECS:
        model = arch.build(spec, outputs=TOKENS, vocabulary=TOKENS, width=WIDTH, seed=1).to(DEVICE).eval()
        x = torch.zeros(1, dtype=torch.long, device=DEVICE)
        with torch.inference_mode():
            _, state = model.step(x, model.init_state(1))
            stream = stream_of(model, x, state)
        expected = Replayed if spec in REPLAYED else ByHand
        if not isinstance(stream, expected):
            yield f"{spec}: its steps are {type(stream).__name__}, not {expected.__name__}"


def clocks() -> Iterator[str]:
    square = torch.randn(4096, 4096, device=DEVICE)

    def product() -> Tensor:
        return square @ square

    calls = max(1, round(1 / seconds_per_call(product, 10, DEVICE)))
    started = time.perf_counter()
    by_device = seconds_per_call(product, calls, DEVICE) * calls
    by_processor = time.perf_counter() - started
    if not abs(by_device / by_processor - 1) <= CLOCKS:
        yield f"{by_device:.3f} s by the GPU's clock, {by_processor:.3f} s by the processor's"


def plan() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.toml"
        path.write_text(PLAN, encoding="utf-8")
        store = str(Path(folder) / "runs")
        for words in (
            ("run", str(path), "--device", "cuda", "--store", store, "--quiet"),
            ("run", str(path), "--device", "cuda", "--store", store, "--quiet", "--no-resume"),
            ("verify", store),
            ("gates", "latest", "--store", store),
            ("report", "latest", "--store", store),
        ):
            done = subprocess.run((sys.executable, "-m", "bench", *words), capture_output=True, text=True, check=False)
            if done.returncode:
                yield f"{' '.join(words[:2])} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"


PROMISES: dict[str, Callable[[], Iterator[str]]] = {
    "the laws hold on the GPU": laws,
    "float32 there is float32 here": same_as_the_processor,
    "steps are replayed where they can be": replays,
    "the two clocks agree": clocks,
    "a plan runs, is verified and drawn": plan,
}


def main() -> int:
    if not torch.cuda.is_available():
        print("There is no CUDA device that torch can use.", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    broken = 0
    for promise, kept in PROMISES.items():
        wrong = list(kept())
        broken += bool(wrong)
        print(f"{'BROKEN' if wrong else 'kept  '}  {promise}", flush=True)
        for line in wrong:
            print(f"        {line}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
