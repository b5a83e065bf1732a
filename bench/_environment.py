"""Where and by what a run was measured: the machine, the software, the code. Names no person, host or path."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from results import Environment

MEASURING_ROOMS = ("arch", "tasks", "bench", "results")
"""The rooms whose code decides what a record says; a change in `reports` makes no record stale."""
PACKAGES = ("numpy", "numba", "scipy", "safetensors", "scikit-learn")


def environment(device: str) -> Environment:
    """This machine and its software."""
    return Environment(
        cpu=_cpu(),
        cores=available_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        device=device,
        packages={name: version for name in PACKAGES if (version := _version(name)) is not None},
    )


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def code_digest() -> str:
    """Ten hexadecimal digits that change with any source file that has a part in measuring."""
    home = Path(__file__).resolve().parent.parent
    content = hashlib.sha256()
    for room in MEASURING_ROOMS:
        for path in sorted((home / room).rglob("*.py")):
            content.update(f"{path.relative_to(home).as_posix()}\n".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:10]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
