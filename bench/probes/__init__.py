"""Probes: each measures one thing of trained models, and leaves them as they were."""

from bench.probes._subject import Subject, pulse

__all__ = ["Subject", "pulse"]
