"""The environment fields that two runs must share to be comparable, and the fields that are only reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from results.schema.run import Environment

REQUIRED_EQUAL = ("host", "cpu", "cores", "threads", "torch", "device", "instructions")
"""Fields that must be equal for two runs to be compared. The code may differ, since comparisons measure its effect."""
REPORTED = tuple(name for name in Environment.model_fields if name not in REQUIRED_EQUAL)
"""All other fields. A difference is shown but does not prevent the comparison."""
ENTRY_TITLES = {"packages": "{}", "caches": "{} cache"}
"""Format of the title of each entry in a field that is a mapping. `{}` stands for the key of the entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field in which two runs differ."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.base} → {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDifferences:
    """All differences between two environments. The environments are equal if and only if there are no differences."""

    forbidding: tuple[Difference, ...]
    """Differences that prevent a comparison."""
    reported: tuple[Difference, ...]
    """Differences that are only shown."""

    @property
    def all(self) -> tuple[Difference, ...]:
        return self.forbidding + self.reported


def environment_differences(base: Environment, new: Environment) -> EnvironmentDifferences:
    """Return the differences between two environments.

    A value is None if it could not be determined. None differs from every known value. A difference in a field that an
    older file lacks is only reported, and does not prevent a comparison.
    """
    forbidding: list[Difference] = []
    reported: list[Difference] = []
    for name in REQUIRED_EQUAL:
        before, after = getattr(base, name), getattr(new, name)
        if before != after:
            is_older = name not in base.model_fields_set or name not in new.model_fields_set
            (reported if is_older else forbidding).append(difference(name, before, after))
    for name in REPORTED:
        reported += _field_differences(name, getattr(base, name), getattr(new, name))
    return EnvironmentDifferences(forbidding=tuple(forbidding), reported=tuple(reported))


def comparable_environment(environment: Environment) -> str:
    """Return the fields that all runs of a series must share, as text such as `cpu X, cores 8`.

    Unknown fields are omitted.
    """
    values = {name: getattr(environment, name) for name in REQUIRED_EQUAL}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def difference(field: str, base: object, new: object) -> Difference:
    """Return the difference between two values of a field, with None shown as `not recorded`."""
    return Difference(field=field, base=_shown(base), new=_shown(new))


def _field_differences(name: str, base: object, new: object) -> Iterator[Difference]:
    if isinstance(base, Mapping) and isinstance(new, Mapping):
        for entry in sorted({*base, *new}):
            if base.get(entry) != new.get(entry):
                yield difference(ENTRY_TITLES[name].format(entry), base.get(entry), new.get(entry))
    elif base != new:
        yield difference(name, base, new)


def _shown(value: object) -> str:
    return "not recorded" if value is None else str(value)
