"""Checks that need a GPU.

    python -m tests.gpu

- Every built-in architecture passes the architecture checks on the GPU, in float64.
- A float32 model gives the same outputs and gradients on the GPU as on the CPU.
- A step whose state keeps its shape is replayed from a CUDA graph. All other steps run eagerly.
- The GPU's clock agrees with the CPU's clock over a second of work.
- A small plan with every probe runs twice. The commands `verify`, `gates` and `report` succeed on its store.

The command prints one line per check, and one line per failure. The exit code is 1 if a check fails, and 2 if there is
no GPU.
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
from bench.probes.stream import EagerStream, GraphStream, stream_of
from bench.validation import ARCH_CHECKS, LEVELS, ArchExample, ModuleUnderTest

DEVICE = torch.device("cuda")
SPECS = ("rnn", "lstm", "gru", "transformer", "transformer:window=8")
REPLAYED = ("rnn", "lstm", "gru")
"""Architectures whose state consists of tensors of constant shape. A CUDA graph can replay their steps."""
WIDTH, TOKENS, STEPS = 16, 10, 64
FLOAT32_TOLERANCE = 2e-4
"""Largest accepted float32 difference after 64 steps. GPU and CPU add numbers in different orders."""
CLOCK_TOLERANCE = 0.1
"""Largest accepted relative difference between the clocks of GPU and CPU, over a second of matrix products."""

PLAN = """
summary = "all probes on a GPU"
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
class OnDevice(ArchExample):
    """An example for the architecture checks, with its module and inputs on the GPU."""

    def build(self) -> ModuleUnderTest:
        on_cpu = super(OnDevice, self).build()

        def draw(batch: int, steps: int, seed: int = 0) -> Tensor:
            return on_cpu.draw(batch, steps, seed).to(DEVICE)

        return ModuleUnderTest(module=on_cpu.module.to(DEVICE), draw=draw)


def architecture_checks_pass() -> Iterator[str]:
    """Yield each architecture check that fails on the GPU."""
    for spec in SPECS:
        for level in LEVELS:
            for name, check in ARCH_CHECKS.items():
                try:
                    check(OnDevice(package=arch, spec=spec, level=level, width=WIDTH))
                except (AssertionError, RuntimeError, ValueError) as error:
                    yield f"{spec}, {LEVELS[level]}, {name}: {str(error).splitlines()[0]}"


def float32_agrees_with_the_cpu() -> Iterator[str]:
    """Yield each architecture whose outputs or gradients differ between GPU and CPU."""
    for spec in SPECS:
        model = arch.build(spec, outputs=TOKENS, vocabulary=TOKENS, width=WIDTH, seed=1)
        inputs = torch.randint(TOKENS, (4, STEPS), generator=torch.Generator().manual_seed(1))
        cpu_outputs = model(inputs)
        cpu_outputs.square().mean().backward()
        cpu_gradients = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
        model.zero_grad(set_to_none=True)
        gpu_outputs = model.to(DEVICE)(inputs.to(DEVICE))
        gpu_outputs.square().mean().backward()
        gpu_gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        for name, on_gpu, on_cpu in (
            ("outputs", [gpu_outputs], [cpu_outputs]),
            ("gradients", gpu_gradients, cpu_gradients),
        ):
            difference = max(float((a.cpu() - b).abs().max().detach()) for a, b in zip(on_gpu, on_cpu, strict=True))
            if not difference <= FLOAT32_TOLERANCE:
                yield f"{spec}: {name} differ by {difference:.2g}"


def steps_are_replayed_if_possible() -> Iterator[str]:
    """Yield each architecture whose stream has the wrong type.

    Architectures in `REPLAYED` need a `GraphStream`, all others an `EagerStream`.
    """
    for spec in SPECS:
        model = arch.build(spec, outputs=TOKENS, vocabulary=TOKENS, width=WIDTH, seed=1).to(DEVICE).eval()
        x = torch.zeros(1, dtype=torch.long, device=DEVICE)
        with torch.inference_mode():
            _, state = model.step(x, model.init_state(1))
            stream = stream_of(model, x, state)
        expected = GraphStream if spec in REPLAYED else EagerStream
        if not isinstance(stream, expected):
            yield f"{spec}: uses {type(stream).__name__} instead of {expected.__name__}"


def clocks_agree() -> Iterator[str]:
    """Yield the two durations if the clocks of GPU and CPU disagree."""
    square = torch.randn(4096, 4096, device=DEVICE)

    def product() -> Tensor:
        return square @ square

    calls = max(1, round(1 / seconds_per_call(product, 10, DEVICE)))
    started = time.perf_counter()
    gpu_seconds = seconds_per_call(product, calls, DEVICE) * calls
    cpu_seconds = time.perf_counter() - started
    if not abs(gpu_seconds / cpu_seconds - 1) <= CLOCK_TOLERANCE:
        yield f"{gpu_seconds:.3f} s by the GPU's clock, {cpu_seconds:.3f} s by the CPU's"


def plan_runs() -> Iterator[str]:
    """Yield each command that fails on a small plan."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.toml"
        path.write_text(PLAN, encoding="utf-8")
        store = str(Path(folder) / "runs")
        for arguments in (
            ("run", str(path), "--device", "cuda", "--store", store, "--quiet"),
            ("run", str(path), "--device", "cuda", "--store", store, "--quiet", "--no-resume"),
            ("verify", store),
            ("gates", "latest", "--store", store),
            ("report", "latest", "--store", store),
        ):
            command = (sys.executable, "-m", "bench", *arguments)
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                output = (result.stderr or result.stdout)[-500:]
                yield f"{' '.join(arguments[:2])} exited with code {result.returncode}: {output}"


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "architecture checks pass on the GPU": architecture_checks_pass,
    "float32 results agree with the CPU": float32_agrees_with_the_cpu,
    "steps are replayed if possible": steps_are_replayed_if_possible,
    "the clocks of GPU and CPU agree": clocks_agree,
    "a plan runs, is verified and is plotted": plan_runs,
}
"""Checks by name. Each check yields one line per failure."""


def main() -> int:
    """Run all checks, print their results, and return the exit code."""
    if not torch.cuda.is_available():
        print("torch can use no CUDA device on this machine", file=sys.stderr)
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    failed = 0
    for name, check in CHECKS.items():
        failures = list(check())
        failed += bool(failures)
        print(f"{'FAILED' if failures else 'passed'}  {name}", flush=True)
        for line in failures:
            print(f"        {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
