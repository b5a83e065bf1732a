"""The environment fields that two runs must share to be comparable, and the fields that are only reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from results.schema.case import Protocol
from results.schema.metrics import METRICS
from results.schema.run import Environment, RunFile
from results.specs.spec import value_text

REQUIRED_EQUAL = ("host", "cpu", "cores", "threads", "torch", "device", "instructions")
"""Fields that must be equal for two runs to be compared. The code may differ, since comparisons measure its effect."""
MACHINE = ("host", "cpu", "cores", "threads", "instructions")
"""Fields of `REQUIRED_EQUAL` that change timings, but scores only by rounding. Scores and sizes need not share them."""
OF_ONE_MACHINE = frozenset({"host", "cpu", "cores"})
"""Fields that cannot differ between runs that were measured in turns, since both are measured on one machine."""
MEASURES_MACHINE = ("timing", "memory", "share", "limit")
"""Kinds of metrics that depend on the machine."""
REPORTED = tuple(name for name in Environment.model_fields if name not in REQUIRED_EQUAL)
"""All other fields. A difference is shown but does not prevent the comparison."""
TRAINING = "training"
"""Field in which a trained model differs from an untrained one of the same case."""
ALLOWABLE = (
    *REQUIRED_EQUAL,
    *("timing samples", "timing blocks", "task version", "task data", "tuning", TRAINING),
    *(f"protocol {name}" for name in Protocol.model_fields),
)
"""Fields that a user can allow to differ although they prevent a comparison."""
ENTRY_TITLES = {"packages": "{}", "caches": "{} cache", "settings": "{}"}
"""Format of the title of each entry in a field that is a mapping. `{}` stands for the key of the entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field in which two runs differ."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.base} → {self.new}"

    @property
    def phrase(self) -> str:
        """The difference inside a sentence, without a colon: `numba 0.60 → 0.68`."""
        return f"{self.field} {self.base} → {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDifferences:
    """All differences between two environments. Their known fields are equal if and only if there are none."""

    forbidding: tuple[Difference, ...]
    """Differences that prevent a comparison."""
    reported: tuple[Difference, ...]
    """Differences that are only shown."""
    unknown: tuple[str, ...] = ()
    """Fields of `REQUIRED_EQUAL` that neither environment has, so that they may differ."""

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
    unknown = tuple(name for name in REQUIRED_EQUAL if getattr(base, name) is None is getattr(new, name))
    return EnvironmentDifferences(forbidding=tuple(forbidding), reported=tuple(reported), unknown=unknown)


def run_differences(base: RunFile, new: RunFile) -> EnvironmentDifferences:
    """Return the differences between the environments and the plugins of two runs.

    Every command that relates two runs uses this list. The code is not in it, since comparisons measure its effect.
    A plugin that only one run has is not in it either, since it only adds cases.
    """
    found = environment_differences(base.environment, new.environment)
    shared = {f"plugin {name}" for name in base.plugins.keys() & new.plugins.keys()}
    plugins = tuple(each for each in plugin_differences(base, new) if each.field in shared)
    return replace(found, reported=found.reported + plugins)


def plugin_differences(base: RunFile, new: RunFile) -> tuple[Difference, ...]:
    """Return the plugins whose digests differ, and those that only one of two runs has."""
    return tuple(
        difference(f"plugin {name}", base.plugins.get(name), new.plugins.get(name))
        for name in sorted({*base.plugins, *new.plugins})
        if base.plugins.get(name) != new.plugins.get(name)
    )


def comparable_environment(environment: Environment, metric: str, allow: frozenset[str] = frozenset()) -> str:
    """Return the fields that all runs of a series must share, as text such as `cpu X, cores 8`.

    Unknown fields and those in `allow` are omitted, and so are those of `MACHINE` if `metric` does not depend on them.
    """
    known = METRICS.get(metric)
    omitted = allow if known is not None and known.kind in MEASURES_MACHINE else allow | set(MACHINE)
    values = {name: getattr(environment, name) for name in REQUIRED_EQUAL if name not in omitted}
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
    return "not recorded" if value is None else value_text(value)
