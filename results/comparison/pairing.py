"""Pair the cases of two runs, and list the differences that make the comparison of a pair unfair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from results.comparison.comparability import TRAINING, Difference, difference
from results.schema.case import BUDGETS, Budget, Case, Protocol, Tuning
from results.schema.record import Record
from results.schema.run import RunFile, Side
from results.specs.spec import value_text

GridPoint = tuple[str, str, int, int, Budget | None, str]
"""Architecture, task, length, depth, size and purpose."""
Conditions = tuple[Protocol, int, str | None, Tuning | None]
"""Protocol, task version, digest of the task's data and grid of learning rates."""
BySeed = dict[int, Record]
NOT_RUN = "not run yet"


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

    case: Case | str
    """The case, or the name of a benchmark of another program."""
    run: Side
    """The run in which the case is missing or failed."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A case of one run with its record, or with the reason why there is no usable record."""

    case: Case
    record: Record | None
    reason: str


_PlannedBySeed = dict[int, _Planned]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The cases of two runs, sorted into pairs and unpaired cases."""

    pairs: tuple[Pair, ...]
    missing: tuple[MissingCase, ...]
    """Cases without a usable record in a run that planned them, and cases that only the baseline run planned."""
    failed: tuple[MissingCase, ...]
    """Cases that succeeded in the baseline run and failed in the new run."""
    failed_in_base: tuple[MissingCase, ...]
    added: tuple[Case, ...]
    """Cases that only the new run planned, and that have a record there."""


def pair_records(
    base: tuple[RunFile, Iterable[Record]],
    new: tuple[RunFile, Iterable[Record]],
    unusable: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Pairing:
    """Pair the cases of two runs by architecture, task, length, size and conditions.

    Conditions are those of `conditions_of`. Cases with equal conditions are paired first.
    Each run may have unpaired cases left at a grid point. These cases are paired too if they have only one set of
    conditions per run. Such a pair lists the differences in the conditions.

    Cases that only serve to choose a learning rate are never pairs. They are listed only if a run that planned them has
    no usable record, or if they succeeded in one run and failed in the other.

    Args:
        base: Run file and records of the baseline run.
        new: Run file and records of the new run.
        unusable: For each run, why a record cannot be used, by the key of its case.
    """
    base_groups, new_groups = _grouped(*base, unusable[0]), _grouped(*new, unusable[1])
    pairs: list[Pair] = []
    missing: list[MissingCase] = []
    failed: list[MissingCase] = []
    failed_in_base: list[MissingCase] = []
    added: list[Case] = []

    def sort(old: _Planned | None, current: _Planned | None) -> tuple[Record, Record] | None:
        """Return the records of a case if both runs succeeded. Otherwise add the case to one of the lists."""
        absent = [_missing(old, "base"), _missing(current, "new")]
        missing.extend(each for each in absent if each is not None)
        if any(absent):
            return None
        before, after = (None if planned is None else planned.record for planned in (old, current))
        if before is None:
            assert after is not None
            if after.case.is_reported:
                added.append(after.case)
        elif after is None:
            if before.case.is_reported:
                missing.append(MissingCase(case=before.case, run="new", reason="not planned"))
        elif before.status != "ok":
            failed_in_base.append(_failed(before, "base"))
        elif after.status != "ok":
            failed.append(_failed(after, "new"))
        else:
            return before, after
        return None

    for grid_point in sorted({*base_groups, *new_groups}, key=repr):
        before, after = base_groups.get(grid_point, {}), new_groups.get(grid_point, {})
        partners: list[tuple[_PlannedBySeed, _PlannedBySeed, tuple[Difference, ...]]] = [
            (before.pop(conditions), after.pop(conditions), ()) for conditions in list(before) if conditions in after
        ]
        if len(before) == len(after) == 1:
            (base_conditions, base_seeds), (new_conditions, new_seeds) = before.popitem(), after.popitem()
            partners.append((base_seeds, new_seeds, tuple(condition_differences(base_conditions, new_conditions))))
        unpaired: list[tuple[_Planned | None, _Planned | None]] = []
        unpaired += [(planned, None) for seeds in before.values() for planned in seeds.values()]
        unpaired += [(None, planned) for seeds in after.values() for planned in seeds.values()]
        for old, current in unpaired:
            sort(old, current)
        for base_seeds, new_seeds, differences in partners:
            of_base, of_new = BySeed(), BySeed()
            for seed in sorted({*base_seeds, *new_seeds}):
                both_ok = sort(base_seeds.get(seed), new_seeds.get(seed))
                if both_ok is not None:
                    of_base[seed], of_new[seed] = both_ok
            case = next((record.case for record in of_base.values()), None)
            if case is not None and case.is_reported:
                pairs.append(Pair(case=case, base=of_base, new=of_new, differences=differences))
    return Pairing(
        pairs=tuple(pairs),
        missing=tuple(missing),
        failed=tuple(failed),
        failed_in_base=tuple(failed_in_base),
        added=tuple(added),
    )


def distinguishing_settings(cases: Sequence[Case], allow: frozenset[str] = frozenset()) -> list[str]:
    """Return one text per case: the settings that differ among cases of the same architecture, task and length.

    Settings without a value are left out. The text is empty if no setting differs. `allow` are names of fields from
    `ALLOWABLE` that are left out too.
    """
    allowed = {setting_name(field) for field in allow}
    rivals: dict[tuple[str, str, int], list[dict[str, object]]] = {}
    for case in cases:
        rivals.setdefault((case.arch, case.task, case.length), []).append(_settings(case))
    labels: list[str] = []
    for case in cases:
        candidates = rivals[case.arch, case.task, case.length]
        distinct = [
            f"{name}={value_text(value)}"
            for name, value in _settings(case).items()
            if value is not None
            and name not in allowed
            and len({str(each[name]) for each in candidates if name in each}) > 1
        ]
        labels.append(", ".join(distinct))
    return labels


def setting_name(field: str) -> str:
    """Return the name under which a case or its protocol has a field of `ALLOWABLE`, such as `solved_after`."""
    return field.removeprefix("protocol ").replace(" ", "_")


def _grouped(
    file: RunFile, records: Iterable[Record], unusable: Mapping[str, str]
) -> dict[GridPoint, dict[Conditions, _PlannedBySeed]]:
    """Return the cases of a run by grid point, conditions and seed, with or without a record.

    Args:
        file: Run file, which lists the planned cases.
        records: Records of the run.
        unusable: Why a record cannot be used, by the key of its case.
    """
    by_key = {record.key: record for record in records}
    cases = {key: record.case for key, record in by_key.items()}
    cases |= {case.key: case for case in file.cases}
    no_record = NOT_RUN if file.finished is None else f"{NOT_RUN} (no record, although the run has finished)"
    groups: dict[GridPoint, dict[Conditions, _PlannedBySeed]] = {}
    for key, case in cases.items():
        grid_point = (case.arch, case.task, case.length, case.depth, case.budget, case.purpose)
        conditions = conditions_of(case)
        planned = _Planned(case=case, record=by_key.get(key), reason=unusable.get(key, no_record))
        groups.setdefault(grid_point, {}).setdefault(conditions, {})[case.seed] = planned
    return groups


def conditions_of(case: Case) -> Conditions:
    """Return the conditions under which a case is trained and tested, which two cases must share to be compared."""
    return case.protocol, case.task_version, case.task_data, case.tuning


def condition_differences(base: Conditions, new: Conditions) -> Iterable[Difference]:
    """Yield the differences between the conditions of two cases.

    If only one of them is trained, this is the only difference in training that is named.
    """
    for name, before, after in (("task version", base[1], new[1]), ("task data", base[2], new[2])):
        if before != after:
            yield difference(name, before, after)
    if base[0].trains != new[0].trains:
        yield difference(TRAINING, *("trained" if each[0].trains else "untrained" for each in (base, new)))
        return
    if base[3] != new[3]:
        yield difference("tuning", _grid_text(base[3]), _grid_text(new[3]))
    for name in Protocol.model_fields:
        base_value, new_value = _field(base[0], name), _field(new[0], name)
        if base_value != new_value:
            yield difference(f"protocol {name}", base_value, new_value)


def _field(protocol: Protocol, name: str) -> object:
    """Return the value of a field of a protocol, with a word in place of a learning rate that it does not give."""
    value = getattr(protocol, name)
    if name == "learning_rate" and value is None:
        return "tuned" if protocol.optimizer == "adam" else "none"
    return value


def _grid_text(tuning: Tuning | None) -> str:
    if tuning is None:
        return "none"
    return f"{', '.join(f'{rate:g}' for rate in tuning.learning_rates)} with {tuning.seeds} seeds"


def _settings(case: Case) -> dict[str, object]:
    sizes = {name: getattr(case, name) for name in ("depth", "params_of", *BUDGETS, "task_version", "task_data")}
    if not case.protocol.trains:
        return sizes | {TRAINING: "none"}
    protocol = {name: getattr(case.protocol, name) for name in Protocol.model_fields}
    return sizes | {TRAINING: "by protocol"} | protocol | {"tuning": _grid_text(case.tuning)}


def _missing(planned: _Planned | None, run: Side) -> MissingCase | None:
    """Return a case as missing if `run` planned it and has no usable record of it, or None otherwise."""
    if planned is None or planned.record is not None:
        return None
    return MissingCase(case=planned.case, run=run, reason=planned.reason)


def _failed(record: Record, run: Side) -> MissingCase:
    reason = f"{record.status}{f': {record.reason}' if record.reason else ''}"
    return MissingCase(case=record.case, run=run, reason=reason)
