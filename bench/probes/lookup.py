"""Find the module of a probe.

Each probe has a module of the same name in this folder; `results.PROBES` lists them. Modules are imported on first
use, so that planning a run does not load torch.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from bench.plans.plan import Timing
from results import TIMING_PROBES, Measurement, Probe

if TYPE_CHECKING:
    from bench.probes.subject import ProbeResult, Subject


class TrainedModelProbe(Protocol):
    """Module of a probe that runs right after training, in parallel with other jobs."""

    def measure(self, subject: Subject) -> ProbeResult:
        """Measure one model that was just trained."""


class TimingProbe(Protocol):
    """Module of a probe that needs a quiet machine. The probe times the models of a group alternately."""

    def measure_first_call(self, subject: Subject) -> list[Measurement]:
        """Time the first use of a freshly loaded model; return an empty list if the probe has no such metric."""

    def measure(
        self, subjects: Sequence[Subject], timing: Timing, order: random.Random
    ) -> dict[str, list[Measurement]]:
        """Time all models alternately, in an order drawn from `order`. Returns measurements by case key."""

    def backend_of(self, subject: Subject) -> str:
        """Return the name of the backend that runs the timed calls."""


def trained_model_probe(name: Probe) -> TrainedModelProbe:
    """Return the module of a probe that runs right after training."""
    assert name not in TIMING_PROBES, name
    return cast(TrainedModelProbe, importlib.import_module(f"bench.probes.{name}"))


def timing_probe(name: Probe) -> TimingProbe:
    """Return the module of a probe that needs a quiet machine."""
    assert name in TIMING_PROBES, name
    return cast(TimingProbe, importlib.import_module(f"bench.probes.{name}"))
