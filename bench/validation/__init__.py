"""The laws that architectures and tasks obey, for the tests and for `carousel validate`."""

from bench.validation._arch_laws import LAWS as ARCH_LAWS
from bench.validation._blind import blind_score
from bench.validation._task_laws import LAWS as TASK_LAWS
from bench.validation._task_laws import TaskTrial, lengths_of
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
    "TASK_LAWS",
    "VOCABULARY",
    "Broken",
    "Level",
    "Subject",
    "TaskTrial",
    "Trial",
    "blind_score",
    "lengths_of",
    "model",
    "repeat_step",
    "scan_chunks",
]
