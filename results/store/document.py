"""Read and write documents with checksums. Writing is atomic, and reading does not trust the content.

A file may come from anywhere, so the cost of reading it is bounded before it is parsed. There are limits on its size
and on the number of its values and strings. Valid files are far below these limits. Writing enforces the same limits,
so every stored document can be read again.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from results.schema.base import Strict
from results.schema.migrations import migrated, unique_fields
from results.schema.record import SCHEMA_VERSION, Record
from results.schema.run import RunFile
from results.store.temporary import lock_temporary, temporary_path

MAX_DOCUMENT_BYTES = 16 << 20
"""Maximum size of a document."""
MAX_VALUES = 500_000
"""Maximum number of values, counted as commas. A JSON value takes about 160 bytes of memory during validation."""
MAX_QUOTES: dict[type[Strict], int] = {Record: 100_000, RunFile: 2_000_000}
"""Maximum number of quotation marks, two per string. Each unknown field costs a kilobyte of error messages."""
MAX_UNSCREENED_BYTES = 1 << 17
"""Maximum size of a document that is validated without screening. Larger documents are screened first, since each
validation error may contain the whole document."""
MAX_MEMBERS = 1000
"""Maximum number of fields of one object."""
MAX_ERRORS = 1000
"""Maximum number of validation errors for which the first error is reported. More errors are only counted."""
MAX_TEXT = 10_000
"""Maximum number of characters of a string, equal to that of `Text` in the schema."""
MAX_UNCHECKED_BYTES = 1 << 20
"""Maximum size of a file that is diagnosed further if its checksum is wrong."""
CHECKSUM = b',\n "checksum": "'
"""Start of the last field of every document. The field contains a digest of the document without this field."""
OLD_CHECKSUM = b',\n "seal": "'
"""Start of the checksum field in schema versions 1 and 2. The old and the new name are accepted in all versions."""
_BEGINNING = f'{{\n "schema_version": {SCHEMA_VERSION},'.encode()
_CHECKSUM_END = b'"\n}\n'
CHECKSUM_MISMATCH = "corrupt: checksum mismatch"

Document = TypeVar("Document", Record, RunFile)


class StoreError(ValueError):
    """Error for a store that cannot be read or written, or a run that does not exist."""


class Unreadable(StoreError):
    """Error for a file whose content could not be read, and which may be intact."""


class NewerSchema(Unreadable):
    """Error for a valid file of a newer schema version, which must be neither read nor modified."""


def write_document(path: Path, document: Strict) -> None:
    """Write a document atomically, with its checksum.

    Raises `StoreError` if the document is too large to be read again or the file cannot be written.
    """
    text = document.model_dump_json(indent=1).encode()
    reason = _limit_exceeded(text, type(document))
    if reason is not None:
        raise StoreError(f"cannot write {path}: {reason}; plan fewer cases or fewer timed steps")
    write_atomically(path, with_checksum(text))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file as `replace_file` does. Raises `StoreError` if the file cannot be written."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; earlier files are unchanged") from None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that no reader sees a partial file.

    Missing folders are created. A file that is replaced keeps its mode. Raises `OSError` if the file cannot be written.
    """
    temporary = temporary_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            lock_temporary(file.fileno())
            if path.is_file():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.name != "nt":  # Windows cannot rename an open file
                temporary.replace(path)
        if os.name == "nt":
            temporary.replace(path)
    except (KeyboardInterrupt, OSError):
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # a disk that rejects writes may reject this too; `carousel verify` reports the file


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read a document of type `kind`.

    Raises `StoreError` with a one-line message if the file cannot be read or is not a valid document. The error is
    `NewerSchema` if a newer version of Carousel wrote the file.
    """
    return parsed(read_bytes(path, MAX_DOCUMENT_BYTES), kind)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises `Unreadable` if the file is larger than `max_bytes`, is not regular or cannot be read. The message does not
    name the file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if status.st_size > max_bytes:
            raise Unreadable(f"larger than {max_bytes >> 20} MiB ({status.st_size:,} bytes)")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None


def entries(folder: Path) -> list[Path]:
    """Return the paths of all entries of a folder, sorted by name. A missing folder has none.

    Raises `Unreadable` if the folder exists and cannot be read. The message does not name the folder.
    """
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None


def parsed(content: bytes, kind: type[Document]) -> Document:
    """Return a document of type `kind` from the content of its file.

    Raises `StoreError` with a one-line message if the content is not a valid document. The error is `NewerSchema` if a
    newer version of Carousel wrote the content.
    """
    text = without_checksum(content)
    if text is None and len(content) > MAX_UNCHECKED_BYTES:
        raise StoreError(CHECKSUM_MISMATCH)
    try:
        document = _validated(kind, content if text is None else text)
    except NewerSchema:
        if text is None:  # a flipped bit can also make the version newer
            damage = f"its newer schema version ({_version_of(content)}) may be part of the damage"
            raise StoreError(f"{CHECKSUM_MISMATCH}; {damage}") from None
        raise
    except ValidationError as error:
        raise StoreError(_first_error(error)) from None
    if text is None:
        raise StoreError(CHECKSUM_MISMATCH)
    return document


def may_contain(folder: Path, name: str) -> bool:
    """Return whether a folder contains an entry, or cannot be searched for it."""
    try:
        (folder / name).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


@contextmanager
def reading_many() -> Iterator[None]:
    """Pause the garbage collector while many documents are read.

    Documents have no reference cycles, but the search for cycles takes half of the reading time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _limit_exceeded(text: bytes, kind: type[Strict]) -> str | None:
    """Return the limit that a document exceeds, as text, or None if it exceeds none."""
    if len(text) > MAX_DOCUMENT_BYTES:
        return f"larger than {MAX_DOCUMENT_BYTES >> 20} MiB"
    if len(text) <= MAX_UNSCREENED_BYTES:
        return None  # small enough for any content
    if text.count(b",") > MAX_VALUES:
        return f"more than {MAX_VALUES:,} values"
    quotes = text.count(b'"')
    if quotes > MAX_QUOTES.get(kind, MAX_QUOTES[Record]):
        return f"more than {MAX_QUOTES.get(kind, MAX_QUOTES[Record]) // 2:,} strings"
    return None


def _reject(reason: str | None) -> None:
    if reason is not None:
        raise StoreError(f"corrupt: {reason}")


def _screening_error(text: bytes, kind: type[Strict]) -> str | None:
    """Return an obvious error in a large document, or None. The check is cheaper than validation.

    The result is also None for invalid JSON, since validation gives a better message.
    """
    from pydantic_core import from_json

    try:
        document = from_json(text, cache_strings="none")
    except ValueError:
        return None  # validation gives a better message
    if not isinstance(document, dict):
        return "not a JSON object"
    for name, field in kind.model_fields.items():
        if field.is_required() and name not in document:
            return f"missing field {name}"
    unchecked: list[Any] = [document]
    while unchecked:
        value = unchecked.pop()
        if isinstance(value, dict):
            if len(value) > MAX_MEMBERS:
                return f"an object has more than {MAX_MEMBERS:,} fields"
            if max(map(len, value), default=0) > MAX_TEXT:
                return f"a field name has more than {MAX_TEXT:,} characters"
            unchecked += [each for each in value.values() if isinstance(each, (dict, list, str))]
        elif isinstance(value, list):
            unchecked += [each for each in value if isinstance(each, (dict, list, str))]
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            return f"a string has more than {MAX_TEXT:,} characters"
    return None


def _validated(kind: type[Document], text: bytes) -> Document:
    _reject(_limit_exceeded(text, kind))
    current = text
    if not text.startswith(_BEGINNING):
        version = _version_of(text)
        if version is not None and version > SCHEMA_VERSION:
            raise NewerSchema(f"written by a newer version of Carousel (schema {version}); update Carousel to read it")
        if version is not None and version < SCHEMA_VERSION:
            current = migrated(text) or text
    if len(current) > MAX_UNSCREENED_BYTES:
        _reject(_screening_error(current, kind))
    document = kind.model_validate_json(current)
    # The parser would silently use the last of duplicate fields. A file in our own layout cannot have any.
    if current is text and document.model_dump_json(indent=1, exclude_unset=True).encode() != text:
        _reject_duplicates(text)
    return document


class _Versioned(BaseModel):
    model_config = ConfigDict(strict=True)
    schema_version: Annotated[int, Field(ge=0, lt=1 << 31)]


def _version_of(text: bytes) -> int | None:
    try:
        return _Versioned.model_validate_json(text).schema_version
    except ValidationError:
        return None


def _reject_duplicates(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=unique_fields)
    except RecursionError:
        raise StoreError("corrupt: nested too deeply") from None
    except ValueError as error:
        raise StoreError(f"corrupt: {error}") from None


def _first_error(error: ValidationError) -> str:
    if error.error_count() > MAX_ERRORS:
        return f"corrupt: {error.error_count():,} invalid values"
    # Exclude the input, since each error may contain the whole document.
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if error.error_count() == 1 and first["loc"] in (("checksum",), ("seal",)):
        return CHECKSUM_MISMATCH  # a checksum that matches is removed before validation
    location = ".".join(str(part) for part in first["loc"]).encode("unicode_escape").decode()
    return f"corrupt{f' at {location[:200]}' if location else ''}: {_lower_first(first['msg'])}"


def _lower_first(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def with_checksum(text: bytes) -> bytes:
    """Return the text of a JSON object with a checksum appended as its last field."""
    return text.removesuffix(b"\n}") + CHECKSUM + hashlib.sha256(text).hexdigest()[:16].encode() + _CHECKSUM_END


def without_checksum(content: bytes) -> bytes | None:
    """Return a document as JSON without its checksum, or None if the checksum is missing or does not match."""
    for name in (CHECKSUM, OLD_CHECKSUM):
        start = content.rfind(name)
        text = content[:start] + b"\n}"
        if start >= 0 and content[start:] == name + hashlib.sha256(text).hexdigest()[:16].encode() + _CHECKSUM_END:
            return text
    return None
