"""Fingerprint of the machine and the software that measure a run. The fingerprint names no person, host or path."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import numpy
import psutil

from arch import kernels
from bench.machine.hardware import caches, cpu_name, governor, host_digest, quota_cores, virtual
from results import Environment

PACKAGES = ("numpy", "numba", "llvmlite", "scipy", "safetensors", "scikit-learn")
"""Distributions besides torch whose versions are recorded if they are installed."""
SETTINGS = (
    *("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE"),
    *("MKL_CBWR", "MKL_DEBUG_CPU_TYPE", "MKL_ENABLE_INSTRUCTIONS"),
    *("NUMBA_BOUNDSCHECK", "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "NUMBA_DISABLE_JIT", "NUMBA_LOOP_VECTORIZE"),
    *("NUMBA_ENABLE_AVX", "NUMBA_OPT", "NUMBA_SLP_VECTORIZE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"),
    *("PYTHON_GIL", "PYTHON_JIT", "PYTHONMALLOC", "PYTHONOPTIMIZE", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"),
    *("OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "KMP_AFFINITY", "KMP_BLOCKTIME"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
)
"""Environment variables that select instructions, change compiled code, or change how threads and memory are used.
None of them contains a path."""


def environment(device: str, threads: int = 1) -> Environment:
    """Return the fingerprint of this machine and its software.

    Args:
        device: `cpu` or `cuda`, the device that trains and runs the models.
        threads: number of threads that run the timed code.
    """
    import torch

    build = torch.__config__.show()
    return Environment(
        cpu=cpu_name(),
        cores=available_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        device=device_label(device),
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
        host=host_digest(),
        threads=threads,
        caches=caches(),
        blas=blas(build),
        onednn=onednn(build),
        instructions=torch.backends.cpu.get_cpu_capability(),
        governor=governor(),
        virtual=virtual(),
        kernels=kernels.target(),
        numpy_blas=numpy_blas(),
        cuda=f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if device == "cuda" else None,
        settings={name: value for name in SETTINGS if (value := os.environ.get(name)) is not None},
    )


def device_label(device: str) -> str:
    """Return `cpu`, or `cuda` with the GPU's name.

    The name is included because timings of different GPUs are not comparable.
    """
    return f"{device} ({gpu_name()})" if device == "cuda" else device


def gpu_name() -> str | None:
    """Return the name of the GPU that `--device cuda` uses; None if torch finds no GPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers() -> int:
    """Return the number of workers that can run at the same time without being throttled: one per core of the quota."""
    quota = quota_cores()
    return available_cores() if quota is None else max(1, min(available_cores(), int(quota)))


def blas(build: str) -> str | None:
    """Return the matrix library in torch's build description, such as `mkl 2024.2`; None if it names no library."""
    name = _between(build, "BLAS_INFO=", ",")
    version = _between(build, "Math Kernel Library Version ", "-") if name == "mkl" else None
    return f"{name} {version}" if name and version else name


def numpy_blas() -> str | None:
    """Return NumPy's matrix library, such as `scipy-openblas 0.3.30`; None if NumPy does not name it."""
    found = numpy.show_config(mode="dicts") or {}
    library = found.get("Build Dependencies", {}).get("blas", {})
    return f"{library['name']} {library.get('version', '')}".strip() if library.get("name") else None


def onednn(build: str) -> str | None:
    """Return the version of oneDNN (formerly MKL-DNN) in torch's build description; None if it states no version."""
    return _between(build, "MKL-DNN v", " ")


def _between(text: str, before: str, after: str) -> str | None:
    """Return the part of `text` between `before` and `after`, without surrounding spaces.

    If `after` does not follow on the same line, the part ends with the line. Returns None if `before` is missing or if
    the part is empty.
    """
    _, marker, rest = text.partition(before)
    return rest.partition("\n")[0].partition(after)[0].strip() or None if marker else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
