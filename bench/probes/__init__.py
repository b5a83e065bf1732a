"""Probes: each measures one thing of trained models, and leaves them as they were."""

from bench.machine.noise import Machine, Reading, pulse, read_counters
from bench.machine.timer import Clock
from bench.probes.subject import Subject

__all__ = ["Clock", "Machine", "Reading", "Subject", "pulse", "read_counters"]
