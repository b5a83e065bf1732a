"""Parameterised long-range tasks, one file per task."""

from results.specs import UnknownName
from tasks.core.describe import describe, show
from tasks.core.overlap import declared_overlap, overlap
from tasks.core.registry import add, build, built_in, defined_in, disable, get, names, remove
from tasks.core.task import (
    REAL_TOLERANCE,
    Batch,
    ImpossibleLength,
    MissingData,
    Reals,
    Split,
    Strategy,
    Task,
    Tokens,
    TooShort,
    generator,
)

__all__ = [
    "REAL_TOLERANCE",
    "Batch",
    "ImpossibleLength",
    "MissingData",
    "Reals",
    "Split",
    "Strategy",
    "Task",
    "Tokens",
    "TooShort",
    "UnknownName",
    "add",
    "build",
    "built_in",
    "declared_overlap",
    "defined_in",
    "describe",
    "disable",
    "generator",
    "get",
    "names",
    "overlap",
    "remove",
    "show",
]
