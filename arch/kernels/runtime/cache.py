"""Keep compiled kernels on disk, so that a damaged file is noticed and a missing folder stops nothing.

Numba links an object file from its cache without any check. Here each file starts with a checksum of its contents. A
file with another checksum counts as missing: the kernel is compiled again, and the file is replaced.

The cache is in the first of these folders that can be written:

    1. the folder that NUMBA_CACHE_DIR names
    2. `__pycache__` beside the kernel's source
    3. the user's cache folder
    4. a private folder for temporary files, which no other user can read or write

If there is none, each process compiles the kernels that it needs.
"""

# Numba's classes have no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from numba.core import caching, config

CHECKSUM_BYTES = hashlib.sha256().digest_size

SETTINGS = ("OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO_DEFAULT")
"""Settings of Numba that change the compiled code. Environment variables with the prefix NUMBA_ set them."""

damaged_files: set[str] = set()
"""Names of the files that this process found damaged."""

storing_errors: set[str] = set()
"""Reasons for which this process could not store a kernel."""

folders_in_use: set[str] = set()
"""Kinds of folders that this process uses, from `FOLDERS`."""


def open_cache(function: Callable[..., Any]) -> CheckedCache | None:
    """Return the cache of a function's compiled kernel, or None if no folder can be written."""
    try:
        cache = CheckedCache(function)
    except (RuntimeError, OSError):  # Numba raises RuntimeError if it finds no folder
        folders_in_use.add(NO_FOLDER)
        return None
    locator = type(cache._impl.locator)
    folders_in_use.add(FOLDERS.get(locator, f"the folder of {locator.__name__}"))  # a user can add locators
    return cache


class CheckedCache(caching.FunctionCache):
    """Numba's cache of one function, in which an unreadable file counts as missing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._impl_class = _CheckedImpl
        super().__init__(function)
        self._cache_file = _CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Return Numba's key, which contains the processor, and the settings that change the compiled code."""
        return *super()._index_key(sig, codegen), *(str(getattr(config, name, None)) for name in SETTINGS)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for a signature, or None if it must be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # stored by another version of Python or Numba: linking may fail in any way
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compiled kernel. If this fails, add the reason to `storing_errors`."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            storing_errors.add(error.strerror or str(error))


class _CheckedFile(caching.IndexDataCacheFile):
    """The index and the data files of one function's cache, each with a checksum.

    A data file also contains its key. Processes that store kernels at the same time may use the same file name.
    """

    def load(self, key: Any) -> Any:
        stored = super().load(key)
        return stored[1] if stored is not None and stored[0] == key else None

    def save(self, key: Any, data: Any) -> None:
        super().save(key, (key, data))

    def _load_index(self) -> dict[Any, str]:
        version, stamp, names = self._read(self._index_path) or (None, None, {})
        return names if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return self._read(self._data_path(name))

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), data)

    def _read(self, path: str) -> Any:
        """Return the object in a file, or None if the file is missing, damaged or of another version."""
        try:
            content = Path(path).read_bytes()
        except OSError:
            return None
        checksum, stored = content[:CHECKSUM_BYTES], content[CHECKSUM_BYTES:]
        if hashlib.sha256(stored).digest() != checksum:
            damaged_files.add(Path(path).name)
            return None
        try:
            return pickle.loads(stored)  # noqa: S301  (the folders are as safe as those of the source)
        except Exception:  # the classes of another version of Numba
            return None

    def _write(self, path: str, content: Any) -> None:
        stored = self._dump(content)
        with self._open_for_write(path) as file:  # writes a temporary file, then renames it
            file.write(hashlib.sha256(stored).digest() + stored)


class _UserFolder(caching.UserWideCacheLocator):
    """The user's cache folder. Without a home, Numba's locator would create a folder named `~` wherever it runs."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Self | None:
        if not Path(cls(py_func, py_file).get_cache_path()).is_absolute():
            return None
        located: Self | None = super().from_function(py_func, py_file)
        return located


class _TemporaryFolder(caching.UserWideCacheLocator):
    """A folder among the temporary files that only this user can read or write, because its files are executed."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._private = private_folder()
        self._cache_path = str(self._private / self.get_suitable_cache_subpath(py_file))

    def ensure_cache_path(self) -> None:
        make_private(self._private)
        super().ensure_cache_path()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Self | None:
        with contextlib.suppress(OSError):  # raised if there is no folder for temporary files
            located: Self | None = super().from_function(py_func, py_file)
            return located
        return None


class _CheckedImpl(caching.CompileResultCacheImpl):
    _locator_classes = [  # noqa: RUF012  (declared by Numba)
        caching.UserProvidedCacheLocator,
        caching.InTreeCacheLocator,
        _UserFolder,
        _TemporaryFolder,
    ]

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        return f"checked-{super().get_filename_base(fullname, abiflags)}"  # Numba's own files have no checksum


NO_FOLDER, PRIVATE_FOLDER = "no folder", "a private folder for temporary files"
FOLDERS: dict[type, str] = {
    caching.UserProvidedCacheLocator: "the folder that NUMBA_CACHE_DIR names",
    caching.InTreeCacheLocator: "Carousel's folder",
    _UserFolder: "the user's cache folder",
    _TemporaryFolder: PRIVATE_FOLDER,
}
"""Description of each folder that a cache may use."""


def private_folder() -> Path:
    """Return the path of this user's private folder. Raises `OSError` if there is no folder for temporary files."""
    user = "" if sys.platform == "win32" else f"-{os.getuid()}"
    return Path(tempfile.gettempdir()) / f"carousel-kernels{user}"


def make_private(folder: Path) -> None:
    """Create a folder for this user alone. Raises `OSError` if the folder exists and others may have written to it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if sys.platform == "win32":
        return  # the folder for temporary files belongs to the user
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to other users: remove it")
