"""Probes: each measures one thing of trained models, and leaves them as they were."""

from bench.probes._machine import Clock, Machine, Reading, pulse, read_counters
from bench.probes._subject import Subject

__all__ = ["Clock", "Machine", "Reading", "Subject", "pulse", "read_counters"]
