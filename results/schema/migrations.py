"""How files of earlier schema versions are read: each entry takes a document one version on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from results.schema.record import SCHEMA_VERSION

Document = dict[str, Any]


def migrated(content: bytes) -> bytes | None:
    """A document of an earlier version as one of the present; None where it is no such document."""
    try:
        document = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or type(version := document.get("schema_version")) is not int:
        return None
    if not 1 <= version < SCHEMA_VERSION:
        return None
    try:
        for earlier in range(version, SCHEMA_VERSION):
            document = MIGRATIONS[earlier](document) | {"schema_version": earlier + 1}
        return json.dumps(document).encode()
    except (AttributeError, KeyError, TypeError, RecursionError):  # damaged: the present models would say where
        return None


def once(pairs: list[tuple[str, Any]]) -> Document:
    """A JSON object, each of whose names must stand in it once. Raises `ValueError`."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a field twice")
    return found


def _from_1(document: Document) -> Document:
    """A measurement had only the pulses of its blocks."""
    measurements = [
        {**{field: value for field, value in measurement.items() if field != "pulse_seconds"}, "blocks": blocks}
        for measurement in document.get("measurements", [])
        for blocks in [[{"pulse_seconds": pulse} for pulse in measurement.get("pulse_seconds", [])]]
    ]
    return document | ({"measurements": measurements} if "measurements" in document else {})


def _from_2(document: Document) -> Document:
    """Fields of version 3 have other names."""
    document = dict(document)
    if "lanes" in document:
        document["workers"] = document.pop("lanes")
    if "lines" in document:
        lines = document.pop("lines")
        document["reference_scores"] = [_renamed(line, "blind_to_the_past", "memoryless_score") for line in lines]
    if "measurements" in document:
        document["measurements"] = [
            measurement
            | {
                "blocks": [
                    _renamed(block, "pulse_seconds", "calibration_seconds") for block in measurement.get("blocks", [])
                ]
            }
            for measurement in document["measurements"]
        ]
    if "spans" in document:
        document["spans"] = [_renamed(span, "lane", "worker") for span in document["spans"]]
    return document


def _renamed(part: Document, old: str, new: str) -> Document:
    """Rename one field and keep the order of all."""
    return {new if field == old else field: value for field, value in part.items()}


MIGRATIONS: dict[int, Callable[[Document], Document]] = {1: _from_1, 2: _from_2}
