"""Where and by what a run was measured: the machine, the software, the code. Names no person, host or path."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import psutil

from bench.machine.hardware import caches, cpu_name, governor, host_digest, virtual
from results import Environment

PACKAGES = ("numpy", "numba", "scipy", "safetensors", "scikit-learn")


def environment(device: str, threads: int = 1) -> Environment:
    """This machine and its software; `threads` are those that timed code may use."""
    import torch

    built = torch.__config__.show()
    return Environment(
        cpu=cpu_name(),
        cores=available_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        device=described(device),
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
        host=host_digest(),
        threads=threads,
        caches=caches(),
        blas=blas(built),
        onednn=onednn(built),
        instructions=torch.backends.cpu.get_cpu_capability(),
        governor=governor(),
        virtual=virtual(),
    )


def described(device: str) -> str:
    """`cpu`, or `cuda` with the name of the GPU, as different ones are not comparable."""
    return f"{device} ({gpu_name()})" if device == "cuda" else device


def gpu_name() -> str | None:
    """The GPU that `--device cuda` would use; None where torch can use none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas(built: str) -> str | None:
    """What multiplies matrices, out of torch's description of its own build: `mkl 2024.2`."""
    name = _between(built, "BLAS_INFO=", ",")
    version = _between(built, "Math Kernel Library Version ", "-") if name == "mkl" else None
    return f"{name} {version}" if name and version else name


def onednn(built: str) -> str | None:
    """The version of oneDNN, which torch still calls by its former name."""
    return _between(built, "MKL-DNN v", " ")


def _between(text: str, before: str, after: str) -> str | None:
    _, found, rest = text.partition(before)
    return rest.partition("\n")[0].partition(after)[0].strip() or None if found else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
