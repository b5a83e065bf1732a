"""The checks that architectures and tasks must pass, for the tests and for `carousel validate`."""

from bench.validation.arch_checks import CHECKS as ARCH_CHECKS
from bench.validation.examples import (
    CHANNELS,
    EXACTNESS,
    LEVELS,
    MODES,
    VOCABULARY,
    ArchExample,
    CheckFailed,
    Level,
    ModuleUnderTest,
    model,
    repeat_step,
    scan_chunks,
)
from bench.validation.memoryless import measure_reference_score
from bench.validation.task_checks import CHECKS as TASK_CHECKS
from bench.validation.task_checks import TaskExample, lengths_to_check

__all__ = [
    "ARCH_CHECKS",
    "CHANNELS",
    "EXACTNESS",
    "LEVELS",
    "MODES",
    "TASK_CHECKS",
    "VOCABULARY",
    "ArchExample",
    "CheckFailed",
    "Level",
    "ModuleUnderTest",
    "TaskExample",
    "lengths_to_check",
    "measure_reference_score",
    "model",
    "repeat_step",
    "scan_chunks",
]
