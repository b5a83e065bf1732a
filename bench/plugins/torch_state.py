"""torch's global state: settings and random generators that one plugin could change for everything that follows.

A plugin may call `torch.set_default_dtype` when it is imported, or when its constructor runs. The next case must not
notice. `preserved` therefore restores the state after the code of a plugin has run.

The number of interop threads cannot be restored, because torch allows a process to set it only once. Worker processes
set it before any plugin runs, so that a plugin that sets it fails.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from bench.machine.denormals import flushes_denormals


class Setting(NamedTuple):
    """A setting of torch: a function that reads it, and one that sets it to a value that was read."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _write_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _cudnn() -> tuple[bool, ...]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32


def _write_cudnn(flags: tuple[bool, ...]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = flags


def _write_numpy(state: Any) -> None:
    if state is not None:
        sys.modules["numpy"].random.set_state(state)


SETTINGS: dict[str, Setting] = {
    "default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "default device": Setting(torch.get_default_device, _write_default_device),
    "number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1]),
    ),
    "cuDNN flags": Setting(_cudnn, _write_cudnn),
    "gradient mode": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "flushing of denormal numbers": Setting(flushes_denormals, torch.set_flush_denormal),
    "precision of matrix products": Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "anomaly detection": Setting(
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda flags: torch.autograd.set_detect_anomaly(*flags),
    ),
    "autocast": Setting(
        lambda: torch.is_autocast_enabled("cpu"), lambda enabled: torch.set_autocast_enabled("cpu", enabled)
    ),
}
"""The settings by name. Their values are compared, and only a changed value is set again."""

GENERATORS: dict[str, Setting] = {
    "torch": Setting(torch.get_rng_state, torch.set_rng_state),
    "CUDA": Setting(
        lambda: torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        lambda states: torch.cuda.set_rng_state_all(states) if states else None,
    ),
    "Python": Setting(random.getstate, random.setstate),
    "numpy": Setting(lambda: sys.modules["numpy"].random.get_state() if "numpy" in sys.modules else None, _write_numpy),
}
"""The global random generators by name."""


@contextlib.contextmanager
def preserved() -> Iterator[None]:
    """Restore torch's settings and the states of all global random generators when the context ends."""
    settings = {name: setting.read() for name, setting in SETTINGS.items()}
    generators = {name: generator.read() for name, generator in GENERATORS.items()}
    try:
        yield
    finally:
        # A default device would also apply to the tensors that the other settings compute, so it comes first.
        for name in ("default device", "default dtype", *SETTINGS):
            if SETTINGS[name].read() != settings[name]:
                SETTINGS[name].write(settings[name])
        for name, state in generators.items():
            GENERATORS[name].write(state)
