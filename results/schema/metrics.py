"""The metrics: their units, and which direction is better. A reader never guesses either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measured quantity."""

    title: str
    unit: str
    better: Literal["higher", "lower"]
    kind: Literal["score", "loss", "timing", "size", "memory", "limit", "trace"]
    """A `size` is exact; `memory` is what a process held, and varies. A `limit` is what the machine can do with
    any model. A `trace` says what goes on inside a model; whether more of it is better depends on what is asked."""


METRICS: dict[str, Metric] = {
    "accuracy": Metric(title="score", unit="share of asked positions", better="higher", kind="score"),
    "cross_entropy": Metric(title="cross-entropy", unit="nats", better="lower", kind="loss"),
    "mse": Metric(title="mean squared error", unit="", better="lower", kind="loss"),
    "forward_seconds": Metric(title="forward pass", unit="s", better="lower", kind="timing"),
    "train_step_seconds": Metric(title="training step", unit="s", better="lower", kind="timing"),
    "first_call_seconds": Metric(title="first forward pass", unit="s", better="lower", kind="timing"),
    "step_seconds": Metric(title="streamed step", unit="s", better="lower", kind="timing"),
    "stream_step_seconds": Metric(title="step of all streams together", unit="s", better="lower", kind="timing"),
    "clock_seconds": Metric(title="clock reading", unit="s", better="lower", kind="timing"),
    "state_bytes": Metric(title="state", unit="B", better="lower", kind="size"),
    "training_peak_bytes": Metric(title="peak memory while training", unit="B", better="lower", kind="memory"),
    "training_added_bytes": Metric(title="memory that training added", unit="B", better="lower", kind="memory"),
    "streaming_peak_bytes": Metric(title="peak memory while streaming", unit="B", better="lower", kind="memory"),
    "streaming_added_bytes": Metric(title="memory that streaming added", unit="B", better="lower", kind="memory"),
    "forward_flops": Metric(title="forward pass", unit="FLOP", better="lower", kind="size"),
    "train_step_flops": Metric(title="training step", unit="FLOP", better="lower", kind="size"),
    "step_flops": Metric(title="streamed step", unit="FLOP", better="lower", kind="size"),
    "step_bytes": Metric(title="moved by a streamed step", unit="B", better="lower", kind="size"),
    "matmul_flops_per_second": Metric(title="matrix product", unit="FLOP/s", better="higher", kind="limit"),
    "read_bytes_per_second": Metric(title="read bandwidth", unit="B/s", better="higher", kind="limit"),
    "early_stopped_accuracy": Metric(
        title="score of the best validated weights", unit="share of asked positions", better="higher", kind="score"
    ),
    "memory_trace": Metric(title="x_1 decoded from the state", unit="R²", better="higher", kind="trace"),
    "gradient_trace": Metric(title="gradient at the input", unit="norm", better="higher", kind="trace"),
    "initial_gradient_trace": Metric(
        title="gradient at the input before training", unit="norm", better="higher", kind="trace"
    ),
    "forget_share": Metric(title="forget gates in 0.8–1.0", unit="share", better="higher", kind="trace"),
    "retention": Metric(title="retention to the last step", unit="share", better="higher", kind="trace"),
    "half_life_steps": Metric(title="half-life of memory", unit="steps", better="higher", kind="trace"),
    "hold_histogram": Metric(title="hold gates in this part of 0–1", unit="share", better="higher", kind="trace"),
    "write_gate": Metric(title="write gate", unit="mean activation", better="higher", kind="trace"),
    "hold_gate": Metric(title="hold gate", unit="mean activation", better="higher", kind="trace"),
    "read_gate": Metric(title="read gate", unit="mean activation", better="higher", kind="trace"),
    "write_contrast": Metric(title="write gate, first against middle steps", unit="", better="higher", kind="trace"),
    "hold_contrast": Metric(title="hold gate, middle against first step", unit="", better="higher", kind="trace"),
    "read_contrast": Metric(title="read gate, last against middle steps", unit="", better="higher", kind="trace"),
}
"""`step_seconds` and `state_bytes` are measured at a `position`, `accuracy` at a `length`, `forward_seconds` at
a `batch`, `matmul_flops_per_second` with so many `rows` of a `batch`, `stream_step_seconds` at a `position` and
with so many `streams` in one step, traces at a `step` counted from 1, gates in a `layer` counted from 0,
a histogram's parts each `from_percent` on. A task may record further losses under names of its own."""


def middle_of(metric: str, samples: Sequence[float]) -> float:
    """The median of a timing, the mean of anything else."""
    known = METRICS.get(metric)
    return median(samples) if known is not None and known.kind == "timing" else fmean(samples)
