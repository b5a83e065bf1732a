"""The subjects of contract checks and oracles: an architecture as a layer, or as a model of reals or tokens.

All checks and oracles access the architectures through this module's attribute `arch`. The fault tests replace that
attribute with a faulty copy of the package.
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
from bench.validation import model as random_model

__all__ = ["BATCH", "CHANNELS", "LEVELS", "MODES", "VOCABULARY", "WIDTH", "repeat_step", "scan_chunks", "subject"]

arch: ModuleType = real_package

SPECS = (
    "rnn:nonlinearity=relu,init=identity",
    "rnn:bias=False,init=orthogonal",
    "lstm:bias=False,forget_bias=1",
    "lstm:forget_bias=2,init=orthogonal",
    "lstm:forget=coupled",
    "lstm:forget=none,peepholes=True,init=orthogonal",
    "lstm:peepholes=True,bias=False,forget_bias=1",
    "gru:reset=before",
    "gru:bias=False,init=orthogonal",
    "gru:reset=before,bias=False",
    "slstm:heads=2",
    "esn:connections=2,leak=0.5,input_scaling=0.3,spectral_radius=1.2",
    "min_gru:signed=True,bias=False",
    "min_lstm:bias=False,forget_bias=1",
    "ind_rnn:nonlinearity=relu,signed=True,bias=False",
    "rg_lru:conv=0",
    "lru:output=linear,r_min=0.5,r_max=0.9",
    "transformer:positions=sinusoidal,heads=1",
    "transformer:positions=learned,max_length=16",
    "transformer:positions=alibi,heads=4",
    "transformer:positions=none,expansion=2",
    "transformer:window=3",
    "transformer:positions=alibi,window=3",
    "transformer:positions=learned,max_length=16,window=1",
    "linear_attention:heads=4",
    "ret_net:heads=1,value_factor=3",
    "gla:heads=1,rank=3",
    "mamba2:heads=2,states=3,expand=1",
    "mamba2:conv=0",
    "delta_net:negative=True,householders=2",
    "delta_net:conv=0,heads=4",
    "gated_delta_net:decay=channel",
    "gated_delta_net:negative=True,householders=2",
    "gated_delta_net:heads=1,negative=True,conv=0",
    "mlstm:heads=4",
    "rwkv7:heads=1",
    "mamba:conv=0,expand=1,states=3",
    "mamba:negative=True",
    "s4d:states=2",
    "tcn:kernel=2,weight_norm=False",
    "tcn:kernel=3,dilation=3",
    "hybrid:pattern=gru+transformer*2",
    "hybrid:pattern=transformer:heads=4:positions=alibi:window=3+gru",
)
"""Specs that exercise code paths other than the defaults."""

DIFFERENT = ("rnn", "lstm", "gru", "transformer", "mamba", "delta_net", "esn")
"""Architectures whose models and blocks differ: in their kernels, their own convolution, and what learns."""

WIDTH = 8  # the smallest width for four heads with rotary positions
BATCH = 2


def every_spec() -> list[str]:
    """Return the names of all architectures, then `SPECS`. New files in `arch` are thus included automatically."""
    return [*arch.names(), *SPECS]


def trial(spec: str, level: Level) -> ArchExample:
    """Return the input of a contract check: the architecture at a level, with `WIDTH` and `BATCH`."""
    return ArchExample(package=arch, spec=spec, level=level, width=WIDTH, batch=BATCH, same_state=same_state)


def subject(spec: str, level: Level) -> ModuleUnderTest:
    """Return the module of a level: one layer, or a model of two layers that reads reals or tokens."""
    return trial(spec, level).build()


def model(spec: str, *, depth: int = 2, vocabulary: int | None = None) -> Any:
    """Return a model in float64 with random weights. It reads tokens if `vocabulary` is given, else reals."""
    return random_model(arch, spec, WIDTH, depth=depth, vocabulary=vocabulary)


def same_state(actual: Any, expected: Any) -> None:
    """Raise `AssertionError` if two states differ by more than `EXACTNESS`."""
    assert_same_state(actual, expected, close)


def close(actual: Any, expected: Any) -> None:
    """Raise `AssertionError` if two results differ by more than `EXACTNESS`."""
    torch.testing.assert_close(actual, expected, rtol=EXACTNESS, atol=EXACTNESS)


def assert_same_state(actual: Any, expected: Any, close: Callable[[Any, Any], None]) -> None:
    """Compare two states with `close`, tensor by tensor.

    Of two caches, only the last steps that both caches hold are compared, because a cache may drop older steps.
    """
    if type(actual).__name__ == "Cache":
        assert actual.position == expected.position
        live = min(actual.length, expected.length)
        for field in ("keys_BNSK", "values_BNSK"):
            pair = ((getattr(cache, field), cache.length) for cache in (actual, expected))
            close(*(tensor[:, :, length - live : length] for tensor, length in pair))
    elif isinstance(actual, (tuple, list)):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_state(one, other, close)
    else:
        close(actual, expected)
