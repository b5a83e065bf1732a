"""Short, unambiguous labels for cases in tables and figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from results import Case, Protocol


class Labels:
    """Short names: `lstm` where only one variant of it is in the run, else the options that not all variants share.

    Sizes and protocol fields are added only where cases differ in them that would otherwise carry one name, and
    a protocol field only where it is not what most of the cases have.
    """

    def __init__(self, cases: Iterable[Case]) -> None:
        kept = list(cases)
        self._archs = _variants(case.arch for case in kept)
        self._tasks = _variants(case.task for case in kept)
        self._sizes_differ = len({_size(case) for case in kept}) > 1
        versions: defaultdict[str, set[int]] = defaultdict(set)
        for case in kept:
            versions[case.task].add(case.task_version)
        self._versioned = {task for task, found in versions.items() if len(found) > 1}
        self._protocol_fields = _differing_fields(kept)

    def arch(self, case: Case) -> str:
        extra = [_size(case)] if self._sizes_differ else []
        extra += [
            f"{field}={value}"
            for field, usual in self._protocol_fields.items()
            if (value := getattr(case.protocol, field)) != usual
        ]
        return " ".join([_short(case.arch, self._archs), *extra])

    def task(self, case: Case) -> str:
        name = _short(case.task, self._tasks)
        return f"{name} v{case.task_version}" if case.task in self._versioned else name


def _base(specification: str) -> str:
    return specification.split(":", 1)[0]


def _variants(specifications: Iterable[str]) -> dict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for specification in specifications:
        found[_base(specification)].add(specification)
    return dict(found)


def _short(specification: str, variants: dict[str, set[str]]) -> str:
    base = _base(specification)
    if not base:
        return specification
    shared = set.intersection(*(set(_options(variant)) for variant in variants[base]))
    kept = [option for option in _options(specification) if len(variants[base]) > 1 and option not in shared]
    return f"{base}:{','.join(kept)}" if kept else base


def _options(specification: str) -> list[str]:
    return [option for option in specification.partition(":")[2].split(",") if option]


def _size(case: Case) -> str:
    wide = f"{case.params:,} params" if case.params is not None else f"width {case.width}"
    return f"depth {case.depth}, {wide}"


def _differing_fields(cases: Sequence[Case]) -> dict[str, object]:
    """Protocol fields that tell cases apart, each with the value of more than half of all cases, else None."""
    protocols: defaultdict[tuple[object, ...], set[Protocol]] = defaultdict(set)
    for case in cases:
        place = (case.arch, _size(case), case.task, case.task_version, case.length)
        protocols[place].add(case.protocol)
    mixed = [together for together in protocols.values() if len(together) > 1]
    differ = [
        field
        for field in (type(cases[0].protocol).model_fields if cases else {})
        if any(len({str(getattr(protocol, field)) for protocol in together}) > 1 for together in mixed)
    ]
    return {field: _usual(getattr(case.protocol, field) for case in cases) for field in differ}


def _usual(values: Iterable[object]) -> object:
    counted = Counter(values)
    value, number = counted.most_common(1)[0]
    return value if 2 * number > counted.total() else None
