"""The laws that architectures and tasks obey, for the tests and for `carousel validate`."""

from bench.validation.arch_checks import LAWS as ARCH_LAWS
from bench.validation.memoryless import blind_score
from bench.validation.subjects import (
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
from bench.validation.task_checks import LAWS as TASK_LAWS
from bench.validation.task_checks import TaskTrial, lengths_of

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
