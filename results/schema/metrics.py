"""The measured metrics, with their units, better directions and rules of comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from results.schema.probes import Probe

ComparedAs = Literal["score", "timing", "size"]
"""Scores are compared over seeds, and timings over fresh processes. Sizes are exact, so they need no statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measured quantity."""

    title: str
    unit: str
    better: Literal["higher", "lower"]
    kind: Literal["score", "loss", "effort", "timing", "share", "size", "memory", "limit", "trace"]
    """An `effort` is what training took to reach a goal. A `size` is exact, while `memory` is measured on a process and
    varies. A `share` is one of timed steps. A `limit` belongs to the machine, not the model. A `trace` describes the
    inside of a model, so its `better` is not used."""
    compared_as: ComparedAs | None = None
    """How `carousel compare` treats the metric; None if it is not compared."""
    family: str | None = None
    """Name by which `--fail-on` selects all metrics of a family; None if the metric belongs to no family."""
    probe: Probe | None = None
    """Probe that measures the metric. None if training or timing jobs measure the metric without a probe."""
    short_title: str | None = None
    """Title in the rows of a comparison; `title` if None."""


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        title="score",
        unit="share of scored positions",
        better="higher",
        kind="score",
        compared_as="score",
        family="accuracy",
        probe="accuracy",
    ),
    "early_stopped_accuracy": Metric(
        title="score of the best validated weights",
        unit="share of scored positions",
        better="higher",
        kind="score",
        compared_as="score",
        family="accuracy",
        probe="accuracy",
    ),
    "cross_entropy": Metric(title="cross-entropy", unit="nats", better="lower", kind="loss", probe="accuracy"),
    "sequences_until_solved": Metric(
        title="training sequences until solved", unit="sequences", better="lower", kind="effort"
    ),
    "mse": Metric(title="mean squared error", unit="", better="lower", kind="loss", probe="accuracy"),
    "forward_seconds": Metric(
        title="forward pass",
        unit="s",
        better="lower",
        kind="timing",
        compared_as="timing",
        family="latency",
        probe="latency",
        short_title="forward",
    ),
    "train_step_seconds": Metric(
        title="training step",
        unit="s",
        better="lower",
        kind="timing",
        compared_as="timing",
        family="latency",
        probe="latency",
        short_title="train",
    ),
    # This metric is not compared, since each process has one sample and most of its time is compilation.
    "first_call_seconds": Metric(title="first forward pass", unit="s", better="lower", kind="timing", probe="latency"),
    "step_seconds": Metric(
        title="streamed step",
        unit="s",
        better="lower",
        kind="timing",
        compared_as="timing",
        family="streaming",
        probe="streaming",
        short_title="step",
    ),
    "call_step_seconds": Metric(
        title="streamed step called from Python",
        unit="s",
        better="lower",
        kind="timing",
        compared_as="timing",
        family="streaming",
        probe="streaming",
        short_title="step, called",
    ),
    "stream_step_seconds": Metric(
        title="step of all streams together", unit="s", better="lower", kind="timing", probe="streaming"
    ),
    "call_stream_step_seconds": Metric(
        title="step of all streams together called from Python",
        unit="s",
        better="lower",
        kind="timing",
        probe="streaming",
    ),
    # This metric is not compared, since each process chooses the fastest of three forms. Two processes that choose
    # differently differ even if the code is the same.
    "chunk_seconds": Metric(title="chunk of steps", unit="s", better="lower", kind="timing", probe="streaming"),
    "late_share": Metric(
        title="steps beyond the deadline", unit="share of steps", better="lower", kind="share", probe="streaming"
    ),
    "worst_step_seconds": Metric(
        title="longest step of the deadline test", unit="s", better="lower", kind="timing", probe="streaming"
    ),
    "deadline_steps": Metric(
        title="steps of the deadline test", unit="steps", better="higher", kind="size", probe="streaming"
    ),
    "steps_per_reading": Metric(
        title="steps timed by one clock reading", unit="steps", better="lower", kind="size", probe="streaming"
    ),
    "clock_seconds": Metric(
        title="clock reading from Python", unit="s", better="lower", kind="timing", probe="streaming"
    ),
    "loop_clock_seconds": Metric(
        title="clock reading in compiled code", unit="s", better="lower", kind="timing", probe="streaming"
    ),
    "state_bytes": Metric(
        title="state",
        unit="B",
        better="lower",
        kind="size",
        compared_as="size",
        family="state",
        probe="streaming",
    ),
    "weight_bytes": Metric(title="weights and buffers", unit="B", better="lower", kind="size", probe="streaming"),
    "workspace_bytes": Metric(
        title="workspace of the compiled step", unit="B", better="lower", kind="size", probe="streaming"
    ),
    "packed_weight_bytes": Metric(
        title="packed weights and their copy", unit="B", better="lower", kind="size", probe="streaming"
    ),
    "training_peak_bytes": Metric(title="peak memory while training", unit="B", better="lower", kind="memory"),
    "training_added_bytes": Metric(title="memory that training added", unit="B", better="lower", kind="memory"),
    "streaming_peak_bytes": Metric(
        title="peak memory while streaming", unit="B", better="lower", kind="memory", probe="streaming"
    ),
    "streaming_added_bytes": Metric(
        title="memory that streaming added", unit="B", better="lower", kind="memory", probe="streaming"
    ),
    "forward_flops": Metric(title="forward pass", unit="FLOP", better="lower", kind="size"),
    "train_step_flops": Metric(title="training step", unit="FLOP", better="lower", kind="size"),
    "step_flops": Metric(title="streamed step", unit="FLOP", better="lower", kind="size"),
    "step_bytes": Metric(title="moved by a streamed step", unit="B", better="lower", kind="size"),
    "matmul_flops_per_second": Metric(title="matrix product", unit="FLOP/s", better="higher", kind="limit"),
    "fma_flops_per_second": Metric(title="multiply-adds in registers", unit="FLOP/s", better="higher", kind="limit"),
    "read_bytes_per_second": Metric(title="read bandwidth", unit="B/s", better="higher", kind="limit"),
    "memory_trace": Metric(title="x_1 decoded from the state", unit="R²", better="higher", kind="trace", probe="gates"),
    "gradient_trace": Metric(title="gradient at the input", unit="norm", better="higher", kind="trace", probe="gates"),
    "initial_gradient_trace": Metric(
        title="gradient at the input before training", unit="norm", better="higher", kind="trace", probe="gates"
    ),
    "forget_share": Metric(title="forget gates in 0.8–1.0", unit="share", better="higher", kind="trace", probe="gates"),
    "retention": Metric(title="retention to the last step", unit="share", better="higher", kind="trace", probe="gates"),
    "half_life_steps": Metric(title="half-life of memory", unit="steps", better="higher", kind="trace", probe="gates"),
    "hold_histogram": Metric(
        title="hold gates in this part of 0–1", unit="share", better="higher", kind="trace", probe="gates"
    ),
    "write_gate": Metric(title="write gate", unit="mean activation", better="higher", kind="trace", probe="gates"),
    "hold_gate": Metric(title="hold gate", unit="mean activation", better="higher", kind="trace", probe="gates"),
    "read_gate": Metric(title="read gate", unit="mean activation", better="higher", kind="trace", probe="gates"),
    "write_contrast": Metric(
        title="write gate, first against middle steps", unit="", better="higher", kind="trace", probe="gates"
    ),
    "hold_contrast": Metric(
        title="hold gate, middle against first step", unit="", better="higher", kind="trace", probe="gates"
    ),
    "read_contrast": Metric(
        title="read gate, last against middle steps", unit="", better="higher", kind="trace", probe="gates"
    ),
}
"""Metrics by name. Tasks may record additional metrics under other names.

If the name of a step's metric starts with `call_`, calls from Python are timed. Otherwise, steps in a loop of compiled
code are timed, and only architectures with a compiled step have the metric.

Most measurements also have a location, for example:

- `accuracy` and losses: a `length`, or `from` and `to` of a range of lengths
- `sequences_until_solved`: none. It is missing if no validation reached `solved_at` of the protocol.
- `forward_seconds`: a `batch`
- `step_seconds`, `call_step_seconds`, `state_bytes`, `workspace_bytes` and `packed_weight_bytes`: a `position`
- `stream_step_seconds` and `call_stream_step_seconds`: a `position` and the number of `streams` per step
- `steps_per_reading`: the location of the timing to which it belongs
- `chunk_seconds`: a `position` and the number of steps in the `chunk`
- `late_share`, `worst_step_seconds` and `deadline_steps`: a `position` and `deadline_ns`, in nanoseconds
- `matmul_flops_per_second`: the number of `rows` and the `batch`
- traces: a `step`, counted from 1
- gates: a `layer`, counted from 0
- histograms: `from_percent`, the lower edge of the bin
"""


def metrics_of(probe: Probe) -> frozenset[str]:
    """Return the names of all metrics that a probe can yield."""
    return frozenset(name for name, metric in METRICS.items() if metric.probe == probe)


def central_value(metric: str, samples: Sequence[float]) -> float:
    """Return the median of the samples of a timing, or the mean of the samples of any other metric.

    Raises `ValueError` if there are no samples.
    """
    known = METRICS.get(metric)
    return median(samples) if known is not None and known.kind == "timing" else fmean(samples)
