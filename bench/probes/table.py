"""The table of probes: what each one needs, which metrics it yields, and where its `measure` function is.

Every probe is a module of this folder that has the probe's name. To add one, write the module, add a row to `PROBES`,
and add the name to `results.Probe`. The modules are imported on first use, so that planning a run does not load torch.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from bench.plans.plan import Timing
from results import Measurement, Probe

if TYPE_CHECKING:
    from bench.probes.subject import ProbeResult, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeInfo:
    """One row of the table of probes."""

    needs_quiet_machine: bool
    """True for a `TimingProbe`, which has the machine to itself; false for a `TrainedModelProbe`."""
    metrics: frozenset[str]
    """All metrics that the probe can yield. Tasks may add their own metrics to those of `accuracy`."""


class TrainedModelProbe(Protocol):
    """Module of a probe that runs right after training, in parallel with other jobs."""

    def measure(self, subject: Subject) -> ProbeResult:
        """Measure one model that was just trained."""


class TimingProbe(Protocol):
    """Module of a probe that needs a quiet machine and times a group of trained models in turns."""

    def measure_first_call(self, subject: Subject) -> list[Measurement]:
        """Measure what only the first use of a freshly loaded model can show."""

    def measure(
        self, subjects: Sequence[Subject], timing: Timing, order: random.Random
    ) -> dict[str, list[Measurement]]:
        """Time all models, interleaved in an order drawn from `order`. Returns measurements by case key."""

    def backend_of(self, subject: Subject) -> str:
        """Return the name of the backend that runs the timed calls."""


PROBES: dict[Probe, ProbeInfo] = {
    "accuracy": ProbeInfo(
        needs_quiet_machine=False,
        metrics=frozenset({"accuracy", "early_stopped_accuracy", "cross_entropy", "mse"}),
    ),
    "latency": ProbeInfo(
        needs_quiet_machine=True,
        metrics=frozenset({"first_call_seconds", "forward_seconds", "train_step_seconds"}),
    ),
    "streaming": ProbeInfo(
        needs_quiet_machine=True,
        metrics=frozenset(
            {
                "clock_seconds",
                "state_bytes",
                "step_seconds",
                "stream_step_seconds",
                "streaming_added_bytes",
                "streaming_peak_bytes",
            }
        ),
    ),
    "gates": ProbeInfo(
        needs_quiet_machine=False,
        metrics=frozenset(
            {
                "forget_share",
                "gradient_trace",
                "half_life_steps",
                "hold_contrast",
                "hold_gate",
                "hold_histogram",
                "initial_gradient_trace",
                "memory_trace",
                "read_contrast",
                "read_gate",
                "retention",
                "write_contrast",
                "write_gate",
            }
        ),
    ),
}

TIMING_PROBES = frozenset(name for name, info in PROBES.items() if info.needs_quiet_machine)
"""Names of the probes that need a quiet machine."""


def trained_model_probe(name: Probe) -> TrainedModelProbe:
    """Return the module of a probe that runs right after training."""
    assert name not in TIMING_PROBES, name
    return cast(TrainedModelProbe, importlib.import_module(f"bench.probes.{name}"))


def timing_probe(name: Probe) -> TimingProbe:
    """Return the module of a probe that needs a quiet machine."""
    assert name in TIMING_PROBES, name
    return cast(TimingProbe, importlib.import_module(f"bench.probes.{name}"))
