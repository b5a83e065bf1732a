"""Which case of a run is meant: by part of its key, or by its name as a page or a plan spells it."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import reports
from bench.errors import UsageError
from results import Case, Record, RunFile

MAX_LISTED = 8
"""Cases in one message; more are counted."""
MAX_SUGGESTED = 3
NAME = re.compile(
    r"(?P<arch>.+?)(?: on (?P<task>.+?))?(?: at (?P<length>[0-9][0-9,]*))?(?:,? seed (?P<seed>[0-9]+))?", re.DOTALL
)
"""The name of a case above its figures, such as `lstm on first_last, seed 0`; all but the first part may miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A case with the short names that its run's page gives to its architecture and task."""

    record: Record
    arch: str
    task: str

    @property
    def title(self) -> str:
        case = self.record.case
        return f"{self.arch} on {self.task} at {case.length}, seed {case.seed}"

    @property
    def digest(self) -> str:
        """The end of the key: no other case has it."""
        return self.record.key.rpartition(".")[2]


def named_cases(file: RunFile, records: Sequence[Record]) -> list[Named]:
    """The cases of a run that have a record, in the order of `records`."""
    short = reports.short_names(file, records)
    return [
        Named(record=record, arch=short[record.key][0], task=short[record.key][1])
        for record in records
        if record.key in short
    ]


def matching_cases(cases: Sequence[Named], words: str) -> list[Named]:
    """The cases that `words` may stand for: a whole key, a name, else part of a key. Raises `UsageError` if none."""
    found = (
        [one for one in cases if one.record.key == words]
        or _by_name(cases, words)
        or [one for one in cases if words in one.record.key]
    )
    if not found:
        near = _nearest(cases, words)
        raise UsageError(f"no case {words!r} in this run{near}; `carousel gates RUN --list` names all {len(cases)}")
    return found


def matching_case(cases: Sequence[Named], words: str) -> Record:
    """The one case that `words` stand for. Raises `UsageError` where there is none, or where there are several."""
    found = matching_cases(cases, words)
    if len(found) == 1:
        return found[0].record
    told = differences([one.record.case for one in found])
    listed = [f"{one.digest} ({tell})" for one, tell in zip(found, told, strict=True)]
    if len(found) > MAX_LISTED:
        listed[MAX_LISTED:] = [f"and {len(found) - MAX_LISTED} more: `carousel gates RUN CASE --list` names them"]
    raise UsageError(f"{words!r} is {len(found)} cases of this run; name one by its digest: {'; '.join(listed)}")


def differences(cases: Sequence[Case]) -> list[str]:
    """For each case what tells it from the others: names, sizes and seed, and what is unusual in its protocol."""
    rows = [case.model_dump(exclude={"protocol"}) for case in cases]
    plain = [field for field in rows[0] if len({str(row[field]) for row in rows}) > 1]
    protocols = [dict(case.protocol) for case in cases]
    usual = {field: _usual(protocol[field] for protocol in protocols) for field in protocols[0]}
    return [
        ", ".join(
            [
                *(row[field] if field in ("arch", "task") else f"{field} {row[field]}" for field in plain),
                *(f"{field}={value}" for field, value in protocol.items() if value != usual[field]),
            ]
        )
        or "the usual protocol"
        for row, protocol in zip(rows, protocols, strict=True)
    ]


def _by_name(cases: Sequence[Named], words: str) -> list[Named]:
    parts = NAME.fullmatch(words.strip())
    if parts is None:
        return []
    length = None if parts["length"] is None else int(parts["length"].replace(",", ""))
    placed = [
        one
        for one in cases
        if length in (None, one.record.case.length)
        and (parts["seed"] is None or int(parts["seed"]) == one.record.case.seed)
    ]
    of_arch = _so_called(placed, "arch", parts["arch"])
    return of_arch if parts["task"] is None else _so_called(of_arch, "task", parts["task"])


def _so_called(cases: Sequence[Named], what: Literal["arch", "task"], given: str) -> list[Named]:
    """Those whose architecture or task is `given`, as the page or the case spells it, or in another spelling."""

    def spelled(name: str) -> list[Named]:
        return [one for one in cases if name in (getattr(one, what), getattr(one.record.case, what))]

    return spelled(given) or spelled(_as_a_case_writes_it(what, given))


def _as_a_case_writes_it(what: Literal["arch", "task"], given: str) -> str:
    """Options sorted, defaults left out, `1` as `1.0`; as given where nothing of that name is registered."""
    if ":" not in given:
        return given
    try:
        if what == "arch":
            import arch

            return str(arch.get(given))
        import tasks

        return str(tasks.build(given))
    except ValueError:
        return given


def _nearest(cases: Sequence[Named], words: str) -> str:
    known: Mapping[str, str] = {
        name.lower(): name
        for one in cases
        for name in (one.record.key, one.arch, one.record.case.arch, f"{one.arch} on {one.task}", one.title)
    }
    close = difflib.get_close_matches(words.lower(), known, n=MAX_SUGGESTED)
    return f"; the nearest are {', '.join(repr(known[name]) for name in close)}" if close else ""


def _usual(values: Iterable[object]) -> object:
    return Counter(values).most_common(1)[0][0]
