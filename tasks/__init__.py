"""Parameterised long-range tasks: one file a task, what is sampled, what is asked, what chance scores."""

from tasks._contract import (
    REAL_TOLERANCE,
    Batch,
    ImpossibleLength,
    Reals,
    Split,
    Task,
    Tokens,
    TooShort,
    generator,
)
from tasks._describe import describe, show
from tasks._overlap import declared_overlap, overlap
from tasks._registry import UnknownName, build, get, names

__all__ = [
    "REAL_TOLERANCE",
    "Batch",
    "ImpossibleLength",
    "Reals",
    "Split",
    "Task",
    "Tokens",
    "TooShort",
    "UnknownName",
    "build",
    "declared_overlap",
    "describe",
    "generator",
    "get",
    "names",
    "overlap",
    "show",
]
