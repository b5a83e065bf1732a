"""Changes to the protocol for some architectures, tasks or lengths of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from bench.plans.protocol import GivenProtocol
from results import Strict
from results.specs import Spec, shown_value

RATE = "learning_rate"
"""Field of a protocol that a grid of learning rates replaces."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the values. Raises `ValueError` if one of them occurs more than once."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{shown_value(value)} occurs more than once; give each value once")
    return values


DISTINCT = AfterValidator(_distinct)
"""Validator of a list whose values must differ."""
SpecText = Annotated[str, Field(min_length=1, max_length=400)]
Length = Annotated[int, Field(ge=1, le=1 << 24)]


class Override(Strict):
    """Changes to the protocol for some architectures, tasks or lengths. An empty tuple stands for all of them.

    Architectures and tasks are given as names, which stand for all specs with this name, or as whole specs.
    """

    archs: Annotated[tuple[SpecText, ...], DISTINCT] = ()
    tasks: Annotated[tuple[SpecText, ...], DISTINCT] = ()
    lengths: Annotated[tuple[Length, ...], DISTINCT] = ()
    protocol: GivenProtocol
    found_by: Annotated[str, Field(min_length=1, max_length=400)] | None = None
    """The run that found the learning rate in `protocol`, in words. It is stored with each training at this rate."""

    def applies_to(self, arch: str, task: str, length: int) -> bool:
        """Return whether the changes apply to a case with these specs and this length in time steps."""
        return _names(self.archs, arch) and _names(self.tasks, task) and (not self.lengths or length in self.lengths)

    @model_validator(mode="after")
    def _finds_a_rate(self) -> Self:
        if self.found_by is not None and RATE not in self.protocol:
            raise ValueError(
                "found_by says which run found a learning rate; add learning_rate to the protocol of the override, "
                "or remove found_by"
            )
        return self


def without_rate(protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a protocol without the learning rate."""
    return {field: value for field, value in protocol.items() if field != RATE}


def _names(given: Sequence[str], spec: str) -> bool:
    """Return whether a spec is among the given specs and names. If none are given, the result is True."""
    parsed = Spec.parse_stored(spec)
    return not given or any(each == parsed.name or Spec.parse_stored(each) == parsed for each in given)
