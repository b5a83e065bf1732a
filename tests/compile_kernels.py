"""Compile all kernels on all cores: `python -m tests.compile_kernels`.

Otherwise, each worker of the tests compiles the same kernels at the same time. Kernels in the cache are only loaded.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import time
from concurrent.futures import ProcessPoolExecutor

import arch.kernels


def compile_module(name: str) -> None:
    """Compile the kernels of a module and of those that it imports, or load them from the cache."""
    if arch.kernels.obstacle() is None:
        importlib.import_module(name)


def main() -> None:
    """Compile the kernels of all modules, and print how long it took."""
    began = time.monotonic()
    modules = [
        module.name for module in pkgutil.walk_packages(arch.kernels.__path__, prefix=f"{arch.kernels.__name__}.")
    ]
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(compile_module, modules))
    print(f"kernels of {len(modules)} modules are compiled, after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
