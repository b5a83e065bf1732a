"""What everything that is read from disk is made of: strict models, and values that cannot be too large."""

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
"""No part begins with a dot, so no path climbs out of its folder."""


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    def digest(self) -> str:
        """Ten hexadecimal digits that change with any field."""
        return digest(self.model_dump(mode="json"))


def digest(value: Any) -> str:
    """Ten hexadecimal digits of a JSON value, the same whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
