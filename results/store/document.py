"""One document on disk: sealed, written aside and renamed into place, and read with distrust.

A file may come from anywhere, so what reading it costs is bounded before it is parsed: its size, the
number of its values, and the number of its strings. A legitimate file is far below each bound, and
what is above one is refused when it is written, so nothing is ever stored that could not be read.
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
from results.schema.migrations import migrated, once
from results.schema.record import SCHEMA_VERSION, Record
from results.schema.run import RunFile

MAX_DOCUMENT_BYTES = 16 << 20
MAX_VALUES = 500_000
"""Commas of a document: a value of JSON takes about 160 bytes while it is validated."""
MAX_QUOTES: dict[type[Strict], int] = {Record: 100_000, RunFile: 2_000_000}
"""Quotation marks of a document, two a string: each unknown name in a file costs a kilobyte of complaint."""
MAX_PLAIN_BYTES = 1 << 17
"""From here on a document is looked over before it is validated: each complaint may hold the whole of it."""
MAX_MEMBERS = 1000
"""Members of any one object."""
MAX_COMPLAINTS = 1000
MAX_TEXT = 10_000
"""As the longest `Text` of the schema."""
MAX_UNCHECKED_BYTES = 1 << 20
"""What has lost its seal is looked into for a reason only if it is small."""
CHECKSUM = b',\n "checksum": "'
"""The last member of every file is a digest of all that stands before it."""
OLD_CHECKSUM = b',\n "seal": "'
"""How schema versions 1 and 2 named it."""
_BEGINNING = f'{{\n "schema_version": {SCHEMA_VERSION},'.encode()
_CHECKSUM_END = b'"\n}\n'

Document = TypeVar("Document", Record, RunFile)


class StoreError(ValueError):
    """A store that cannot be read or written, or a run that is not there."""


class NewerSchema(StoreError):
    """A whole file that a newer Carousel wrote: not to be read, and not to be touched either."""


def write_aside(path: Path, document: Strict) -> None:
    """Write a document so that the name only ever holds a whole one. Raises `StoreError`."""
    text = document.model_dump_json(indent=1).encode()
    reason = _too_much(text, type(document))
    if reason is not None:
        raise StoreError(f"cannot write {path}: {reason}; plan fewer cases or fewer timed steps")
    write_bytes_aside(path, with_checksum(text))


def write_bytes_aside(path: Path, content: bytes) -> None:
    """Write a file's bytes so that the name only ever holds all of them. Raises `StoreError`."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        _take_away(aside)
        raise StoreError(f"cannot write {path}: {error.strerror}; what was written before is intact") from None


def _take_away(aside: Path) -> None:
    try:
        aside.unlink(missing_ok=True)
    except OSError:
        return  # the disk that refused the file refuses this too; `carousel verify` names what is left


def read_document(path: Path, kind: type[Document]) -> Document:
    """A document from disk. Raises `StoreError` in one line for anything that is not one."""
    return parsed(read_bytes(path, MAX_DOCUMENT_BYTES), kind)


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file's bytes. Raises `StoreError` for one that is larger, is no file, or cannot be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"cannot read {path}: it is not a file")
        if found.st_size > most:
            raise StoreError(f"larger than {most >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def parsed(content: bytes, kind: type[Document]) -> Document:
    """A document from a file's bytes. Raises `StoreError` in one line for anything that is not one."""
    text = without_checksum(content)
    if text is None and len(content) > MAX_UNCHECKED_BYTES:
        raise StoreError("damaged: its seal does not fit its content")
    whole = content if text is None else text
    try:
        document = _validated(kind, whole)
    except NewerSchema as error:
        if text is None:  # a turned bit makes a version newer too: every version ends with its seal
            raise StoreError(f"damaged: its seal does not fit its content, though it says {error}") from None
        raise
    except ValidationError as error:
        raise StoreError(_complaint(error)) from None
    if text is None:
        raise StoreError("damaged: its seal does not fit its content")
    return document


@contextmanager
def reading_many() -> Iterator[None]:
    """No search for cycles meanwhile: documents have none, and looking for them takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _too_much(text: bytes, kind: type[Strict]) -> str | None:
    """Why a document would cost too much to read; None where it would not."""
    if len(text) > MAX_DOCUMENT_BYTES:
        return f"larger than {MAX_DOCUMENT_BYTES >> 20} MiB"
    if len(text) <= MAX_PLAIN_BYTES:
        return None  # too small to cost much, whatever it holds
    if text.count(b",") > MAX_VALUES:
        return f"more than {MAX_VALUES:,} values"
    quotes = text.count(b'"')
    if quotes > MAX_QUOTES.get(kind, MAX_QUOTES[Record]):
        return f"more than {MAX_QUOTES.get(kind, MAX_QUOTES[Record]) // 2:,} strings"
    return None


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise StoreError(f"damaged: {reason}")


def _misshapen(text: bytes, kind: type[Strict]) -> str | None:
    """What is wrong with a large document at first sight."""
    from pydantic_core import from_json

    try:
        whole = from_json(text, cache_strings="none")
    except ValueError:
        return None  # validation says better what is no JSON
    if not isinstance(whole, dict):
        return "it is no object"
    for name, field in kind.model_fields.items():
        if field.is_required() and name not in whole:
            return f"it has no {name}"
    left: list[Any] = [whole]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if len(value) > MAX_MEMBERS:
                return f"an object of more than {MAX_MEMBERS:,} members"
            if max(map(len, value), default=0) > MAX_TEXT:
                return f"a name of more than {MAX_TEXT:,} characters"
            left += [each for each in value.values() if isinstance(each, (dict, list, str))]
        elif isinstance(value, list):
            left += [each for each in value if isinstance(each, (dict, list, str))]
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            return f"a text of more than {MAX_TEXT:,} characters"
    return None


def _validated(kind: type[Document], text: bytes) -> Document:
    _refuse(_too_much(text, kind))
    present = text
    if not text.startswith(_BEGINNING):
        version = _version_of(text)
        if version is not None and version > SCHEMA_VERSION:
            raise NewerSchema(f"written by a newer Carousel (schema {version}); update to read it")
        if version is not None and version < SCHEMA_VERSION:
            present = migrated(text) or text
    if len(present) > MAX_PLAIN_BYTES:
        _refuse(_misshapen(present, kind))
    document = kind.model_validate_json(present)
    # A field that is written twice would be read as its last: only what is not written as we write is looked at.
    if present is text and document.model_dump_json(indent=1, exclude_unset=True).encode() != text:
        _refuse_duplicates(text)
    return document


class _Versioned(BaseModel):
    model_config = ConfigDict(strict=True)
    schema_version: Annotated[int, Field(ge=0, lt=1 << 31)]


def _version_of(text: bytes) -> int | None:
    try:
        return _Versioned.model_validate_json(text).schema_version
    except ValidationError:
        return None


def _refuse_duplicates(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=once)
    except RecursionError:
        raise StoreError("damaged: nested too deeply") from None
    except ValueError as error:
        raise StoreError(f"damaged: {error}") from None


def _complaint(error: ValidationError) -> str:
    if error.error_count() > MAX_COMPLAINTS:
        return f"damaged: {error.error_count():,} of its values are not what they should be"
    # Without what was given: it may be the whole document, once for each complaint.
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]).encode("unicode_escape").decode()
    return f"damaged{f' at {where[:200]}' if where else ''}: {first['msg'].lower()}"


def with_checksum(text: bytes) -> bytes:
    """A JSON object with its digest as its last member."""
    return text.removesuffix(b"\n}") + CHECKSUM + hashlib.sha256(text).hexdigest()[:16].encode() + _CHECKSUM_END


def without_checksum(content: bytes) -> bytes | None:
    """Return the document that the checksum covers; None if the checksum does not match."""
    for name in (CHECKSUM, OLD_CHECKSUM):
        place = content.rfind(name)
        text = content[:place] + b"\n}"
        if place >= 0 and content[place:] == name + hashlib.sha256(text).hexdigest()[:16].encode() + _CHECKSUM_END:
            return text
    return None
