"""The laws that architectures and tasks obey, for the tests and for `carousel validate`."""

from bench.validation.arch_checks import CHECKS as ARCH_CHECKS
from bench.validation.memoryless import memoryless_score
from bench.validation.subjects import (
    CHANNELS,
    EXACTNESS,
    LEVELS,
    MODES,
    VOCABULARY,
    CheckFailed,
    Level,
    Subject,
    Trial,
    model,
    repeat_step,
    scan_chunks,
)
from bench.validation.task_checks import CHECKS as TASK_CHECKS
from bench.validation.task_checks import TaskTrial, lengths_of

__all__ = [
    "ARCH_CHECKS",
    "CHANNELS",
    "EXACTNESS",
    "LEVELS",
    "MODES",
    "TASK_CHECKS",
    "VOCABULARY",
    "CheckFailed",
    "Level",
    "Subject",
    "TaskTrial",
    "Trial",
    "lengths_of",
    "memoryless_score",
    "model",
    "repeat_step",
    "scan_chunks",
]
