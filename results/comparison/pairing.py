"""Pair the cases of two runs, and list the differences that make the comparison of a pair unfair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from results.comparison.comparability import Difference, difference
from results.schema.case import Case, Protocol
from results.schema.record import Record

GridPoint = tuple[str, str, int, int, int | None, int | None]
"""Architecture, task, length, depth, parameter budget and width."""
Conditions = tuple[Protocol, int, str | None]
"""Protocol, task version and digest of the task's data."""
BySeed = dict[int, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The cases of two runs at one grid point, with the differences in their conditions.

    `base` and `new` contain the records of the baseline run and of the new run, by seed. A seed that is missing or
    failed in either run is left out of both.
    """

    case: Case
    base: BySeed = field(default_factory=dict)
    new: BySeed = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCase:
    """A case or metric that is missing or failed in one of two runs, with the reason."""

    case: Case
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The cases of two runs, sorted into pairs and unpaired cases."""

    pairs: tuple[Pair, ...]
    missing: tuple[MissingCase, ...]
    failed: tuple[MissingCase, ...]
    """Cases that succeeded in the baseline run and failed in the new run."""
    failed_in_base: tuple[MissingCase, ...]
    added: tuple[Case, ...]
    """Cases that only the new run has."""


def pair_records(base: Iterable[Record], new: Iterable[Record]) -> Pairing:
    """Pair the records of two runs by architecture, task, length, size and conditions.

    Conditions are the protocol, the task version and the task's data. Cases with equal conditions are paired first.
    Each run may have unpaired cases left at a grid point. These cases are paired too if they have only one set of
    conditions per run. Such a pair lists the differences in the conditions.
    """
    base_groups, new_groups = _grouped(base), _grouped(new)
    pairs: list[Pair] = []
    missing: list[MissingCase] = []
    failed: list[MissingCase] = []
    failed_in_base: list[MissingCase] = []
    added: list[Case] = []
    for grid_point in sorted({*base_groups, *new_groups}, key=repr):
        before, after = base_groups.get(grid_point, {}), new_groups.get(grid_point, {})
        partners: list[tuple[BySeed, BySeed, tuple[Difference, ...]]] = [
            (before.pop(conditions), after.pop(conditions), ()) for conditions in list(before) if conditions in after
        ]
        if len(before) == len(after) == 1:
            (base_conditions, base_seeds), (new_conditions, new_seeds) = before.popitem(), after.popitem()
            partners.append((base_seeds, new_seeds, tuple(condition_differences(base_conditions, new_conditions))))
        missing += [_missing(record) for seeds in before.values() for record in seeds.values()]
        added += [record.case for seeds in after.values() for record in seeds.values()]
        for base_seeds, new_seeds, differences in partners:
            missing += [_missing(record) for seed, record in base_seeds.items() if seed not in new_seeds]
            added += [record.case for seed, record in new_seeds.items() if seed not in base_seeds]
            shared = [seed for seed in sorted(base_seeds) if seed in new_seeds]
            succeeded = [seed for seed in shared if base_seeds[seed].status == "ok"]
            failed_in_base += [_failed(base_seeds[seed]) for seed in shared if base_seeds[seed].status != "ok"]
            failed += [_failed(new_seeds[seed]) for seed in succeeded if new_seeds[seed].status != "ok"]
            seeds_ok = [seed for seed in succeeded if new_seeds[seed].status == "ok"]
            if seeds_ok:
                pairs.append(
                    Pair(
                        case=base_seeds[seeds_ok[0]].case,
                        base={seed: base_seeds[seed] for seed in seeds_ok},
                        new={seed: new_seeds[seed] for seed in seeds_ok},
                        differences=differences,
                    )
                )
    return Pairing(
        pairs=tuple(pairs),
        missing=tuple(missing),
        failed=tuple(failed),
        failed_in_base=tuple(failed_in_base),
        added=tuple(added),
    )


def distinguishing_settings(pairs: Sequence[Pair]) -> list[str]:
    """Return one text per pair: the settings that differ among pairs of the same architecture, task and length.

    The text is empty if no setting differs.
    """
    rivals: dict[tuple[str, str, int], list[dict[str, object]]] = {}
    for pair in pairs:
        case = pair.case
        rivals.setdefault((case.arch, case.task, case.length), []).append(_settings(case))
    labels: list[str] = []
    for pair in pairs:
        case = pair.case
        candidates = rivals[case.arch, case.task, case.length]
        distinct = [
            f"{name}={value}"
            for name, value in _settings(case).items()
            if len({str(settings[name]) for settings in candidates}) > 1
        ]
        labels.append(", ".join(distinct))
    return labels


def _grouped(records: Iterable[Record]) -> dict[GridPoint, dict[Conditions, BySeed]]:
    groups: dict[GridPoint, dict[Conditions, BySeed]] = {}
    for record in records:
        case = record.case
        grid_point = (case.arch, case.task, case.length, case.depth, case.params, case.width)
        conditions = (case.protocol, case.task_version, case.task_data)
        groups.setdefault(grid_point, {}).setdefault(conditions, {})[case.seed] = record
    return groups


def condition_differences(base: Conditions, new: Conditions) -> Iterable[Difference]:
    """Yield the differences between the conditions of two cases."""
    for name, before, after in (("task version", base[1], new[1]), ("task data", base[2], new[2])):
        if before != after:
            yield difference(name, before, after)
    for name in Protocol.model_fields:
        before, after = getattr(base[0], name), getattr(new[0], name)
        if before != after:
            yield difference(f"protocol {name}", before, after)


def _settings(case: Case) -> dict[str, object]:
    sizes = {name: getattr(case, name) for name in ("depth", "params", "width", "task_version", "task_data")}
    return sizes | {name: getattr(case.protocol, name) for name in Protocol.model_fields}


def _missing(record: Record) -> MissingCase:
    return MissingCase(case=record.case, reason="not in the new run")


def _failed(record: Record) -> MissingCase:
    return MissingCase(case=record.case, reason=f"{record.status}{f': {record.reason}' if record.reason else ''}")
