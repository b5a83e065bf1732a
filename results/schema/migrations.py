"""Migrations from earlier schema versions. Each function in `MIGRATIONS` converts a document to the next version."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from results.schema.record import SCHEMA_VERSION
from results.specs.spec import Spec

MAX_SHOWN_NAME = 200
"""Maximum number of characters of a field name in an error message."""

Document = dict[str, Any]


def migrated(content: bytes) -> bytes | None:
    """Return a document of an earlier schema version as JSON of the current version.

    The result is None if the content is no such document, or if the document cannot be converted.
    """
    try:
        document = json.loads(content, object_pairs_hook=unique_fields)
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
    except (
        AttributeError,
        KeyError,
        TypeError,
        RecursionError,
    ):  # validation reports the error
        return None


def unique_fields(pairs: list[tuple[str, Any]]) -> Document:
    """Return a JSON object as a dict. Raises `ValueError` if a field occurs more than once."""
    document = dict(pairs)
    if len(document) < len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        shown = repeated[:MAX_SHOWN_NAME].encode("unicode_escape").decode()[:MAX_SHOWN_NAME]
        raise ValueError(f"the field '{shown}' occurs more than once in an object")
    return document


def _from_1(document: Document) -> Document:
    """Convert the calibration times of each measurement, `pulse_seconds`, to a list of blocks."""
    measurements = [
        {**{field: value for field, value in measurement.items() if field != "pulse_seconds"}, "blocks": blocks}
        for measurement in document.get("measurements", [])
        for blocks in [[{"pulse_seconds": pulse} for pulse in measurement.get("pulse_seconds", [])]]
    ]
    return document | ({"measurements": measurements} if "measurements" in document else {})


def _from_2(document: Document) -> Document:
    """Rename the fields that have new names in version 3."""
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


def _from_3(document: Document) -> Document:
    """Rename the metrics of steps that were timed by calls from Python, in measurements and in claims.

    Version 4 uses their old names for steps that are timed inside compiled code.
    """
    document = dict(document)
    if "measurements" in document:
        document["measurements"] = [_with_metric_of_4(measurement) for measurement in document["measurements"]]
    if "claims" in document:
        document["claims"] = [
            _with_quantity_of_4(claim)
            | ({"against": _with_quantity_of_4(claim["against"])} if claim.get("against") is not None else {})
            for claim in document["claims"]
        ]
    return document


def _from_4(document: Document) -> Document:
    """Store the learning rate with the training. In version 4 it was always that of the protocol."""
    training = document.get("training")
    if training is None:
        return document
    rate = document["case"]["protocol"].get("learning_rate", DEFAULT_RATE_OF_4)
    return document | {"training": training | {"learning_rate": rate, "learning_rate_source": "plan"}}


def _from_5(document: Document) -> Document:
    """Add the memory floors of the tasks `recall` and `reber`, which version 5 did not store."""
    floor = _memory_floor_of_5(document.get("case", {}).get("task", ""))
    if floor is None or "reference_scores" not in document:
        return document
    return document | {"reference_scores": [each | {"memory_floor": floor} for each in document["reference_scores"]]}


def _from_6(document: Document) -> Document:
    """Change nothing: version 7 adds fields that version 6 never stored."""
    return document


def _from_7(document: Document) -> Document:
    """Change nothing: version 8 adds values and fields that version 7 never stored."""
    return document


def _memory_floor_of_5(task: str) -> float | None:
    """Return the memory floor of a task of version 5 by its spec, or None if it has none."""
    spec = Spec.parse_stored(task)
    pairs = spec.options.get("pairs", DEFAULT_PAIRS_OF_5)
    if spec.name == "recall" and pairs.isdecimal() and int(pairs) > 0:
        return 1 / int(pairs)
    return REBER_FLOOR if spec.name == "reber" else None


DEFAULT_PAIRS_OF_5 = "8"
"""Number of pairs of a `recall` task of version 5 that gives none."""
REBER_FLOOR = 0.5
"""Score on the positions of `reber` that need the memory, of a model that knows the inner grammar only."""
DEFAULT_RATE_OF_4 = 1e-3
"""Learning rate of a protocol of version 4 that gives none."""

CALLED_FROM_PYTHON = {"step_seconds": "call_step_seconds", "stream_step_seconds": "call_stream_step_seconds"}
"""The metrics that have other names in version 4, each with its name in version 4."""


def _with_metric_of_4(part: Document) -> Document:
    """Return a copy of a measurement or a quantity with the name that its metric has in version 4."""
    return part | {"metric": CALLED_FROM_PYTHON.get(part["metric"], part["metric"])} if "metric" in part else part


def _with_quantity_of_4(part: Document) -> Document:
    """Return a copy of a claim, or of what it is compared with, whose quantity has a metric of version 4."""
    return part | {"quantity": _with_metric_of_4(part["quantity"])} if part.get("quantity") is not None else part


def _renamed(part: Document, old: str, new: str) -> Document:
    """Return a copy in which one field has a new name. The order of the fields does not change."""
    return {new if field == old else field: value for field, value in part.items()}


MIGRATIONS: dict[int, Callable[[Document], Document]] = {
    1: _from_1,
    2: _from_2,
    3: _from_3,
    4: _from_4,
    5: _from_5,
    6: _from_6,
    7: _from_7,
}
