"""The laws that architectures and tasks obey, for the tests and for `carousel validate`."""

from bench.validation._arch_laws import LAWS as ARCH_LAWS
from bench.validation._trial import (
    CHANNELS,
    EXACTNESS,
    LEVELS,
    MODES,
    VOCABULARY,
    Broken,
    Level,
    Subject,
    Trial,
    model,
    repeat_step,
    scan_chunks,
)

__all__ = [
    "ARCH_LAWS",
    "CHANNELS",
    "EXACTNESS",
    "LEVELS",
    "MODES",
    "VOCABULARY",
    "Broken",
    "Level",
    "Subject",
    "Trial",
    "model",
    "repeat_step",
    "scan_chunks",
]
