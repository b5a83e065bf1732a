"""The decision whether kernels can be compiled here. If not, the equations run.

The module imports Numba only when it is asked. Thus it can be imported where Numba is missing or broken.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_failures: list[str] = []


def obstacle() -> str | None:
    """Return the reason why no kernel can be compiled, or None if kernels can be compiled."""
    if _failures:
        return _failures[0]
    broken = _import_failure()
    if broken is not None:
        return broken
    return "NUMBA_DISABLE_JIT switches the compiler off" if _setting("DISABLE_JIT") else None


def give_up(error: Exception) -> None:
    """Note that a kernel could not be compiled. From now on, `obstacle` returns this reason."""
    _failures.append(f"a kernel cannot be compiled ({_first_line(error)})")


def describe() -> str:
    """Return which implementation runs on this machine and, if kernels are compiled, where they are kept."""
    reason = obstacle()
    if reason is not None:
        return f"none, the equations run: {reason}"
    from arch.kernels.runtime import cache as kept
    from arch.kernels.runtime.jit import with_digest
    from arch.kernels.simd.vector import LANES, TARGET

    if not kept.folders_in_use:
        kept.open_cache(with_digest)
    kept_in = " and ".join(sorted(kept.folders_in_use - {kept.NO_FOLDER}))
    place = f"kept in {kept_in}" if kept_in else "compiled anew by each process"
    return f"compiled for {TARGET}, {LANES} numbers per vector, {place}"


def target() -> str:
    """Return the processor and the vector width for which kernels are compiled, or `none` if the equations run."""
    if obstacle() is not None:
        return "none"
    from arch.kernels.simd.vector import LANES, TARGET

    return f"{TARGET}, {LANES} numbers per vector"


def note() -> str | None:
    """Return one line on what is unusual about the kernels of this process, or None if nothing is."""
    reason = obstacle()
    if reason is not None:
        return f"the equations run, and no compiled kernels: {reason}"
    from arch.kernels.runtime import cache as kept

    parts = []
    if (processor := _setting("CPU_NAME")) is not None:
        parts.append(f"compiled for the processor {processor}, which NUMBA_CPU_NAME names")
    if kept.NO_FOLDER in kept.folders_in_use:
        parts.append("compiled anew by each process, because no cache folder can be written; set NUMBA_CACHE_DIR")
    if kept.PRIVATE_FOLDER in kept.folders_in_use:
        parts.append(f"kept in {kept.PRIVATE_FOLDER}, because no other cache folder can be written")
    if kept.storing_errors:
        parts.append(f"compiled anew by each process, because the cache reports: {min(kept.storing_errors)}")
    if kept.damaged_files:
        files = f"{len(kept.damaged_files)} cache file" + "s" * (len(kept.damaged_files) > 1)
        parts.append(f"compiled anew, because of damage to {files}")
    return f"kernels are {'; '.join(parts)}" if parts else None


@cache
def _import_failure() -> str | None:
    try:
        import arch.kernels.runtime.jit
        import arch.kernels.simd.vector  # noqa: F401
    except Exception as error:  # a broken llvmlite raises errors of several kinds
        return f"Numba cannot be used here ({_first_line(error)})"
    return None


def _setting(name: str) -> Any:
    """Return a setting of Numba. Its name is that of an environment variable, without the prefix NUMBA_."""
    import numba

    return getattr(numba.config, name)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
