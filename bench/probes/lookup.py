"""Find the module of a probe.

`results.PROBES` lists the probes. Each probe has a module of the same name in this folder. The module is imported only
when it is looked up, so importing this file does not load torch.
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
    """Module of a probe that runs right after training, while other training jobs may run."""

    def measure(self, subject: Subject) -> ProbeResult:
        """Measure one model that was just trained."""


class TimingProbe(Protocol):
    """Module of a probe that needs a quiet machine. It times the models of a group alternately."""

    def measure_first_call(self, subject: Subject) -> list[Measurement]:
        """Time the first use of a freshly loaded model; return an empty list if the probe has no such metric."""

    def measure(
        self, subjects: Sequence[Subject], timing: Timing, order: random.Random
    ) -> dict[str, list[Measurement]]:
        """Time all models alternately, in random order, and return the measurements by case key.

        `order` generates the random order.
        """

    def limitation(self, subject: Subject, timing: Timing, measurements: Sequence[Measurement]) -> str | None:
        """Return why measurements that were requested of a model are missing, or None if none are.

        `measurements` are those that `measure` returned for the model.
        """

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
