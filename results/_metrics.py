"""The metrics: their units, and which direction is better. A reader never guesses either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measured quantity."""

    title: str
    unit: str
    better: Literal["higher", "lower"]
    kind: Literal["score", "loss", "timing", "size"]


METRICS: dict[str, Metric] = {
    "accuracy": Metric(title="score", unit="share of asked positions", better="higher", kind="score"),
    "cross_entropy": Metric(title="cross-entropy", unit="nats", better="lower", kind="loss"),
    "mse": Metric(title="mean squared error", unit="", better="lower", kind="loss"),
    "forward_seconds": Metric(title="forward pass", unit="s", better="lower", kind="timing"),
    "train_step_seconds": Metric(title="training step", unit="s", better="lower", kind="timing"),
    "first_call_seconds": Metric(title="first forward pass", unit="s", better="lower", kind="timing"),
    "step_seconds": Metric(title="streamed step", unit="s", better="lower", kind="timing"),
    "clock_seconds": Metric(title="clock reading", unit="s", better="lower", kind="timing"),
    "state_bytes": Metric(title="state", unit="B", better="lower", kind="size"),
}
"""`step_seconds` and `state_bytes` are measured at a `position`, `accuracy` at a `length`,
`forward_seconds` at a `batch`. A task may record further losses under names of its own."""
