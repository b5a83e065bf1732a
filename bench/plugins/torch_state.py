"""torch's global state: settings and random generators that one plugin could change for everything that follows.

A plugin may call `torch.set_default_dtype` when it is imported, or when its constructor runs. The next case must not
notice. `preserved` therefore restores the state after the code of a plugin has run.

Functions of torch that a plugin replaces are not restored.

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
from torch.nn.modules import module
from torch.utils import deterministic

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


def _parts_with_precision() -> list[Any]:
    """Return the parts of torch that have a newer setting of precision. Older versions of torch have none."""
    mkldnn = torch.backends.mkldnn
    parts = (torch.backends, mkldnn, getattr(mkldnn, "matmul", None))
    return [part for part in parts if hasattr(part, "fp32_precision")]


def _precision() -> tuple[str | None, ...]:
    """Return the precision of matrix products by torch's older setting, if it can be read, and by its newer ones."""
    newer = [part.fp32_precision for part in _parts_with_precision()]
    try:
        return torch.get_float32_matmul_precision(), *newer
    except RuntimeError:  # torch refuses to read it once the newer settings were used
        return None, *newer


def _write_precision(values: tuple[str | None, ...]) -> None:
    if values[0] is not None:  # first, because the older setting changes the newer ones
        torch.set_float32_matmul_precision(values[0])
    for part, value in zip(_parts_with_precision(), values[1:], strict=True):
        part.fp32_precision = value


def _attention() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return cuda.math_sdp_enabled(), cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()


def _write_attention(flags: tuple[bool, ...]) -> None:
    cuda = torch.backends.cuda
    for enable, flag in zip(
        (cuda.enable_math_sdp, cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp), flags, strict=True
    ):
        enable(flag)


def _hooks() -> tuple[dict[int, Any], ...]:
    return tuple(dict(hooks) for hooks in _GLOBAL_HOOKS)


def _write_hooks(saved: tuple[dict[int, Any], ...]) -> None:
    for hooks, before in zip(_GLOBAL_HOOKS, saved, strict=True):
        hooks.clear()
        hooks.update(before)


_GLOBAL_HOOKS: tuple[dict[int, Any], ...] = (
    module._global_forward_hooks,
    module._global_forward_pre_hooks,
    module._global_backward_hooks,
    module._global_backward_pre_hooks,
)


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
    "precision of matrix products": Setting(_precision, _write_precision),
    "kernels of attention": Setting(_attention, _write_attention),
    "hooks of all modules": Setting(_hooks, _write_hooks),
    "filling of uninitialized memory": Setting(
        lambda: getattr(deterministic, "fill_uninitialized_memory", None),
        lambda value: setattr(deterministic, "fill_uninitialized_memory", value),
    ),
    "threads of autograd": Setting(
        torch.autograd.is_multithreading_enabled, lambda enabled: torch._C._set_multithreading_enabled(enabled)
    ),
    "dtype of autocast": Setting(
        lambda: torch.get_autocast_dtype("cpu"), lambda dtype: torch.set_autocast_dtype("cpu", dtype)
    ),
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
        with contextlib.ExitStack() as restoring:  # the rest is restored even if one setting cannot be
            for name, state in generators.items():
                restoring.callback(GENERATORS[name].write, state)
            # The stack is last in, first out. A default device would also apply to tensors that other settings compute.
            for name in (*SETTINGS, "default dtype", "default device"):
                restoring.callback(_restore, SETTINGS[name], settings[name])


def _restore(setting: Setting, value: Any) -> None:
    if setting.read() != value:
        setting.write(value)
