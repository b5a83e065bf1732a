"""Strict base model and bounded field types of all stored documents."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Text = Annotated[str, StringConstraints(max_length=10_000)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Size = Annotated[int, Field(ge=1, le=2**31)]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=-][A-Za-z0-9_.=-]*$", max_length=200)]
RelativePath = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_=-][A-Za-z0-9_.=-]*(/[A-Za-z0-9_=-][A-Za-z0-9_.=-]*)*$", max_length=400),
]
"""A path below a run's folder. No part starts with a dot, so `..` cannot lead out of the folder."""


class Strict(BaseModel):
    """Immutable model that rejects wrong types, unknown fields, NaN and infinity."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def digest(self) -> str:
        """Return ten hexadecimal digits that identify the values of all fields (see the function `digest`)."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """Return the first ten hexadecimal digits of the SHA-256 of a JSON value.

    The order of object keys does not matter. Raises `ValueError` if the value contains NaN or infinity. Raises
    `TypeError` if the value cannot be written as JSON.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
