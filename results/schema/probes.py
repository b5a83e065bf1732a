"""The probes and their requirements on the machine.

To add a probe, add its name and its row here, and write a module of that name in `bench/probes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Probe = Literal["accuracy", "latency", "streaming", "gates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeInfo:
    """One row of the table of probes."""

    needs_quiet_machine: bool
    """Whether the probe needs a machine without other jobs, since it times models. Others run in training jobs."""


PROBES: dict[Probe, ProbeInfo] = {
    "accuracy": ProbeInfo(needs_quiet_machine=False),
    "latency": ProbeInfo(needs_quiet_machine=True),
    "streaming": ProbeInfo(needs_quiet_machine=True),
    "gates": ProbeInfo(needs_quiet_machine=False),
}

TIMING_PROBES = frozenset(name for name, info in PROBES.items() if info.needs_quiet_machine)
"""Names of the probes that need a quiet machine."""
