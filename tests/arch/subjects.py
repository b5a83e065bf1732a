"""What the laws and the oracles look at: an architecture as a layer, and as a model of reals or of tokens.

Laws and oracles reach the architectures through this module alone: `arch` below is the package under
test, and the fault tests put a faulty copy of the package in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

import arch as real_package
from bench.validation import (
    CHANNELS,
    EXACTNESS,
    LEVELS,
    MODES,
    VOCABULARY,
    ArchExample,
    Level,
    ModuleUnderTest,
    repeat_step,
    scan_chunks,
)
from bench.validation import model as drawn_model

__all__ = ["BATCH", "CHANNELS", "LEVELS", "MODES", "VOCABULARY", "WIDTH", "repeat_step", "scan_chunks", "subject"]

arch: ModuleType = real_package

SPECS = (
    "rnn:nonlinearity=relu,init=identity",
    "rnn:bias=False,init=orthogonal",
    "lstm:bias=False,forget_bias=1",
    "lstm:forget_bias=2,init=orthogonal",
    "gru:reset=before",
    "gru:bias=False,init=orthogonal",
    "gru:reset=before,bias=False",
    "transformer:positions=sinusoidal,heads=1",
    "transformer:positions=learned,max_length=16",
    "transformer:positions=alibi,heads=4",
    "transformer:positions=none,expansion=2",
    "transformer:window=3",
    "transformer:positions=alibi,window=3",
    "transformer:positions=learned,max_length=16,window=1",
)
"""Variants that take another way through an architecture's file than its defaults do."""

WIDTH = 8  # the least that four heads accept
BATCH = 2


def every_spec() -> list[str]:
    """Each architecture by name, so that a new file is tested by existing, and the variants."""
    return [*arch.names(), *SPECS]


def trial(spec: str, level: Level) -> ArchExample:
    """The architecture at the size at which the laws are tested."""
    return ArchExample(package=arch, spec=spec, level=level, width=WIDTH, batch=BATCH, same_state=same_state)


def subject(spec: str, level: Level) -> ModuleUnderTest:
    """The architecture as one layer, or as a model of two layers that reads reals or tokens."""
    return trial(spec, level).build()


def model(spec: str, *, depth: int = 2, vocabulary: int | None = None) -> Any:
    """A model in float64 whose every weight has been moved at random."""
    return drawn_model(arch, spec, WIDTH, depth=depth, vocabulary=vocabulary)


def same_state(actual: Any, expected: Any) -> None:
    assert_same_state(actual, expected, close)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=EXACTNESS, atol=EXACTNESS)


def assert_same_state(actual: Any, expected: Any, close: Callable[[Any, Any], None]) -> None:
    """Two states are the same up to a cache's free room and the steps that its window has left behind."""
    if type(actual).__name__ == "Cache":
        assert actual.position == expected.position
        live = min(actual.length, expected.length)
        for slots in ("keys_BNSK", "values_BNSK"):
            pair = ((getattr(cache, slots), cache.length) for cache in (actual, expected))
            close(*(tensor[:, :, length - live : length] for tensor, length in pair))
    elif isinstance(actual, (tuple, list)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_state(one, other, close)
    else:
        close(actual, expected)
