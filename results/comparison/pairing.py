"""Which cases of two runs are the same case, and in what two runs differ that would make a comparison unfair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from results.schema.case import Case, Protocol
from results.schema.record import Record
from results.schema.run import RunFile

ENVIRONMENT = ("host", "cpu", "cores", "threads", "device", "torch")
"""What must be the same on both sides. The code may differ: it is what a comparison is about."""
Identity = tuple[str, str, int, int, int | None, int | None]
Terms = tuple[Protocol, int, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A field in which two sides differ."""

    field: str
    base: str
    new: str

    def __str__(self) -> str:
        return f"{self.field}: {self.base} against {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The seeds of one case on both sides, by seed, those that are fine on both; and how the cases differ."""

    case: Case
    base: dict[int, Record] = field(default_factory=dict)
    new: dict[int, Record] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCase:
    """A case of the base that the new run does not have, or that failed in it."""

    case: Case
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """All cases of both runs, each in one place."""

    pairs: tuple[Pair, ...]
    missing: tuple[MissingCase, ...]
    failed: tuple[MissingCase, ...]
    """Fine in the base, failed in the new run."""
    failed_in_base: tuple[MissingCase, ...]
    added: tuple[Case, ...]


def environment_differences(base: RunFile, new: RunFile) -> list[Difference]:
    """Fields of the environments that differ. One that only one side recorded differs; one that none did does not."""
    found = []
    for name in ENVIRONMENT:
        before, after = getattr(base.environment, name), getattr(new.environment, name)
        if before != after:
            found.append(Difference(field=name, base=_written(before), new=_written(after)))
    return found


def paired(base: Iterable[Record], new: Iterable[Record]) -> Pairing:
    """Cases by arch, task, length, size and terms; where only the terms differ, a pair that says so."""
    before, after = _grouped(base), _grouped(new)
    pairs: list[Pair] = []
    missing: list[MissingCase] = []
    failed: list[MissingCase] = []
    failed_in_base: list[MissingCase] = []
    added: list[Case] = []
    for identity in sorted({*before, *after}, key=repr):
        ours, theirs = before.get(identity, {}), after.get(identity, {})
        matched = [(ours.pop(terms), theirs.pop(terms), ()) for terms in list(ours) if terms in theirs]
        partners: list[tuple[dict[int, Record], dict[int, Record], tuple[Difference, ...]]] = [*matched]
        if len(ours) == len(theirs) == 1:
            (one_terms, one), (other_terms, other) = ours.popitem(), theirs.popitem()
            partners.append((one, other, tuple(_terms_differences(one_terms, other_terms))))
        missing += [_missing(record) for seeds in ours.values() for record in seeds.values()]
        added += [record.case for seeds in theirs.values() for record in seeds.values()]
        for one, other, differences in partners:
            missing += [_missing(record) for seed, record in one.items() if seed not in other]
            added += [record.case for seed, record in other.items() if seed not in one]
            shared = [seed for seed in sorted(one) if seed in other]
            failed_in_base += [_failed(one[seed]) for seed in shared if one[seed].status != "ok"]
            failed += [
                _failed(other[seed]) for seed in shared if one[seed].status == "ok" and other[seed].status != "ok"
            ]
            fine = [seed for seed in shared if one[seed].status == other[seed].status == "ok"]
            if fine:
                pairs.append(
                    Pair(
                        case=one[fine[0]].case,
                        base={seed: one[seed] for seed in fine},
                        new={seed: other[seed] for seed in fine},
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


def conditions(pairs: Sequence[Pair]) -> list[str]:
    """What tells a pair from the others of its arch, task and length; empty where nothing needs to."""
    found: list[str] = []
    rivals: dict[tuple[str, str, int], list[Pair]] = {}
    for pair in pairs:
        rivals.setdefault((pair.case.arch, pair.case.task, pair.case.length), []).append(pair)
    for pair in pairs:
        same = rivals[pair.case.arch, pair.case.task, pair.case.length]
        if len(same) == 1:
            found.append("")
            continue
        settings = [_settings(other.case) for other in same]
        own = _settings(pair.case)
        found.append(
            ", ".join(
                f"{name}={value}"
                for name, value in own.items()
                if len({str(setting.get(name)) for setting in settings}) > 1
            )
        )
    return found


def _grouped(records: Iterable[Record]) -> dict[Identity, dict[Terms, dict[int, Record]]]:
    found: dict[Identity, dict[Terms, dict[int, Record]]] = {}
    for record in records:
        case = record.case
        identity = (case.arch, case.task, case.length, case.depth, case.params, case.width)
        terms = (case.protocol, case.task_version, case.task_data)
        found.setdefault(identity, {}).setdefault(terms, {})[case.seed] = record
    return found


def _terms_differences(base: Terms, new: Terms) -> Iterable[Difference]:
    for name, before, after in (("task version", base[1], new[1]), ("task data", base[2], new[2])):
        if before != after:
            yield Difference(field=name, base=_written(before), new=_written(after))
    for name in Protocol.model_fields:
        before, after = getattr(base[0], name), getattr(new[0], name)
        if before != after:
            yield Difference(field=f"protocol {name}", base=_written(before), new=_written(after))


def _settings(case: Case) -> dict[str, object]:
    sizes = {name: getattr(case, name) for name in ("depth", "params", "width", "task_version", "task_data")}
    return sizes | {name: getattr(case.protocol, name) for name in Protocol.model_fields}


def _missing(record: Record) -> MissingCase:
    return MissingCase(case=record.case, reason="not in the new run")


def _failed(record: Record) -> MissingCase:
    return MissingCase(case=record.case, reason=f"{record.status}{f': {record.reason}' if record.reason else ''}")


def _written(value: object) -> str:
    return "not recorded" if value is None else str(value)
