"""The cache of compiled kernels: damage of every kind, and folders that cannot be written.

The tests compile one small kernel. A folder "cannot be written" if a regular file stands in its place, because root
can write to any folder.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import caching

import arch
from arch.kernels.runtime import cache, compiler

SOURCE = """
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.vector import load_first, splat, store_first

@kernel("void(intp, intp)")
def triple(address, count):
    numbers = floats(address)
    store_first(numbers, 0, count, load_first(numbers, 0, count) * splat(3.0))
"""


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test empty records, empty folders, and a home and temporary files of its own."""
    for record in ("damaged_files", "storing_errors", "folders_in_use"):
        monkeypatch.setattr(cache, record, set())
    for folder in ("home", "temporary", "source"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    (tmp_path / "source" / "small.py").write_text(SOURCE)


def is_cached(tmp_path: Path) -> bool:
    """Import the small kernel, check its result, and return whether it came from the cache."""
    specification = importlib.util.spec_from_file_location("small", tmp_path / "source" / "small.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    numbers = np.arange(5, dtype=np.float32)
    module.triple(numbers.ctypes.data, len(numbers))
    assert numbers.tolist() == [0, 3, 6, 9, 12]
    return bool(module.triple.stats.cache_hits)


def files(folder: Path, ending: str) -> list[Path]:
    return sorted(folder.rglob(f"*.{ending}"))


def flip(at: float) -> Callable[[bytes], bytes]:
    """Return a function that inverts one byte, at a fraction of the content's length."""

    def flipped(content: bytes) -> bytes:
        place = min(int(at * len(content)), len(content) - 1)
        return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]

    return flipped


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "first byte only": lambda content: content[:1],
    "checksum only": lambda content: content[: cache.CHECKSUM_BYTES],
    "half": lambda content: content[: len(content) // 2],
    "last byte missing": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "another object": lambda content: pickle.dumps((("3", 1), {})),
    "more bytes": lambda content: content + b"x",
    "first byte flipped": flip(0.0),
    "early byte flipped": flip(0.1),
    "middle byte flipped": flip(0.5),
    "late byte flipped": flip(0.9),
    "last byte flipped": flip(1.0),
}


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_compiled_anew_and_replaced(tmp_path: Path, ending: str, damage: str) -> None:
    assert not is_cached(tmp_path)
    assert is_cached(tmp_path)
    assert compiler.note() is None
    (file,) = files(tmp_path / "source", ending)
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    assert not is_cached(tmp_path)
    assert compiler.note() == "kernels are compiled anew, because of damage to 1 cache file"
    assert is_cached(tmp_path)


def test_a_missing_data_file_is_compiled_anew(tmp_path: Path) -> None:
    is_cached(tmp_path)
    files(tmp_path, "nbc")[0].unlink()
    assert not is_cached(tmp_path)
    assert is_cached(tmp_path)


def test_content_that_cannot_be_unpickled_or_linked_is_compiled_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AttributeError("Can't get attribute 'Gone' on module 'numba'")

    is_cached(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(pickle, "loads", fail)
        assert not is_cached(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(caching.CompileResultCacheImpl, "rebuild", fail)
        assert not is_cached(tmp_path)
    assert is_cached(tmp_path)


def test_the_data_of_another_key_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that compile for two processors at the same time may write the same data file."""
    is_cached(tmp_path)
    (native,) = files(tmp_path, "nbc")
    index = caching.Cache._index_key
    with monkeypatch.context() as patched:
        patched.setattr(caching.Cache, "_index_key", lambda *inputs: (*index(*inputs), "another processor"))
        assert not is_cached(tmp_path)
    (other,) = set(files(tmp_path, "nbc")) - {native}
    shutil.copyfile(other, native)
    assert not is_cached(tmp_path)
    assert is_cached(tmp_path)


@pytest.mark.parametrize("setting", cache.SETTINGS)
def test_a_kernel_compiled_with_other_settings_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    is_cached(tmp_path)
    assert hasattr(numba.config, setting)
    with monkeypatch.context() as patched:
        patched.setattr(cache, "config", SimpleNamespace(**{setting: "another value"}))
        assert not is_cached(tmp_path)
        assert is_cached(tmp_path)
    assert is_cached(tmp_path)


def block(path: Path) -> None:
    """Put a regular file in the place of a folder, so that nobody can write there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def test_the_cache_is_in_the_first_folder_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "temporary" / cache.private_folder().name

    def used() -> set[str]:
        monkeypatch.setattr(cache, "folders_in_use", set())
        assert not is_cached(tmp_path)
        assert is_cached(tmp_path)
        return cache.folders_in_use

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "chosen"))
    assert used() == {"the folder that NUMBA_CACHE_DIR names"} and files(tmp_path / "chosen", "nbc")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "source" / "small.py"))
    assert used() == {"Carousel's folder"} and files(tmp_path / "source" / "__pycache__", "nbc")
    shutil.rmtree(tmp_path / "source" / "__pycache__")
    block(tmp_path / "source" / "__pycache__")
    assert used() == {"the user's cache folder"} and files(tmp_path / "home", "nbc")
    assert compiler.note() is None
    shutil.rmtree(tmp_path / "home")
    block(tmp_path / "home")
    assert used() == {cache.PRIVATE_FOLDER} and files(private, "nbc")
    assert private.stat().st_mode & 0o777 == 0o700
    note = compiler.note()
    assert note is not None and "no other cache folder can be written" in note


@pytest.mark.parametrize("reason", ["readable by others", "a link", "of another user", "no temporary files"])
def test_without_a_safe_folder_each_process_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    block(tmp_path / "source" / "__pycache__")
    monkeypatch.setenv("HOME", str(tmp_path / "source" / "small.py"))
    private = cache.private_folder()
    if reason == "readable by others":
        private.mkdir()
        private.chmod(0o755)
    elif reason == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        private.symlink_to(tmp_path / "elsewhere")
    elif reason == "of another user":
        private.mkdir(mode=0o700)
        monkeypatch.setattr(cache, "private_folder", lambda: private)
        monkeypatch.setattr(os, "getuid", lambda: private.stat().st_uid + 1)
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "source" / "small.py"))
    assert not is_cached(tmp_path)
    assert not is_cached(tmp_path)
    assert not files(tmp_path, "nb?")
    note = compiler.note()
    assert note is not None and note.startswith("kernels are compiled anew by each process, because no cache folder")
    assert compiler.describe().endswith("compiled anew by each process")


def test_a_missing_home_creates_no_folder_in_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system does not know has no home, so that `~` stays as it is."""
    block(tmp_path / "source" / "__pycache__")
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert not is_cached(tmp_path)
    assert cache.folders_in_use == {cache.PRIVATE_FOLDER}
    assert not list((tmp_path / "current").iterdir())


def test_a_full_disk_only_costs_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", fail)
    assert not is_cached(tmp_path)
    note = compiler.note()
    assert note is not None and note.endswith("the cache reports: No space left on device")


def test_functions_that_kernels_close_over_are_inlined() -> None:
    """Check that no closure is called by its symbol.

    Closures of one name differ by a count of the process that compiled them. A cached kernel and a new one may share
    it, and the linker then takes the wrong one.
    """
    folder = Path(arch.__file__).parent / "kernels"
    called = [path.name for path in folder.rglob("*.py") if "\n    @njit\n" in path.read_text(encoding="utf-8")]
    assert called == []


@pytest.mark.slow
def test_a_process_that_finds_its_kernels_in_the_cache_compiles_nothing() -> None:
    """Small helpers that Python calls too must not be compiled, because each worker would do so when it starts."""
    script = """
from numba.core.dispatcher import _FunctionCompiler
import arch
compiled = []
compile_core = _FunctionCompiler._compile_core
_FunctionCompiler._compile_core = lambda self, *types: compiled.append(self.py_func) or compile_core(self, *types)
specs = [*arch.names(), "gru:reset=before"]
arch.compile_kernels(specs)
print([f"{function.__module__}.{function.__name__}" for function in compiled])
"""
    home = Path(arch.__file__).parents[1]
    for _ in range(2):  # the first process fills the cache
        ended = subprocess.run([sys.executable, "-c", script], check=True, cwd=home, capture_output=True, text=True)
    assert ended.stdout == "[]\n"
