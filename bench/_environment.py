"""Where and by what a run was measured: the machine, the software, the code. Names no person, host or path."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench._hardware import caches, cpu_name, governor, host_digest, virtual
from results import Environment

MEASURING_ROOMS = ("arch", "tasks", "bench", "results")
"""The rooms whose code decides what a record says; a change in `reports` makes no record stale."""
PACKAGES = ("numpy", "numba", "scipy", "safetensors", "scikit-learn")
HOME = Path(__file__).resolve().parent.parent
GIT_SECONDS = 5.0
"""A repository on a sleeping disk may take this long; then a run goes on without its commit."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The commit that the code is at, and whether files differ from it; None where it is no checkout."""

    commit: str | None = None
    modified: bool | None = None


def checkout(home: Path = HOME) -> Checkout:
    """What git says of Carousel's own repository. A repository that merely lies around an installed copy is not it."""
    if _git(home, "ls-files", "--error-unmatch", "--", "bench/_environment.py") is None:
        return Checkout()
    commit = _git(home, "rev-parse", "HEAD")
    status = _git(home, "status", "--porcelain")
    if commit is None:
        return Checkout()
    return Checkout(commit=commit, modified=None if status is None else bool(status))


def code_digest() -> str:
    """Ten hexadecimal digits that change with any source file that has a part in measuring."""
    content = hashlib.sha256()
    for room in MEASURING_ROOMS:
        for path in sorted((HOME / room).rglob("*.py")):
            content.update(f"{path.relative_to(HOME).as_posix()}\n".encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:10]


def _git(home: Path, *words: str) -> str | None:
    """What git prints; None where there is no git, no such repository, or no answer in time."""
    program = shutil.which("git")
    if program is None:
        return None
    # A hook of another repository would point git to that one.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        ended = subprocess.run(  # noqa: S603  (fixed words)
            [program, "--no-optional-locks", "-C", str(home), *words],
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
            env=variables,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout.strip()


def _between(text: str, before: str, after: str) -> str | None:
    _, found, rest = text.partition(before)
    return rest.partition("\n")[0].partition(after)[0].strip() or None if found else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
