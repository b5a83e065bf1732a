"""Find a case by its key, part of its key, or its name in a report or plan."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import reports
from bench.errors import UsageError
from results import Case, Record, RunFile
from results.specs import value_text

MAX_LISTED = 8
"""Maximum number of cases listed in one message. Any further cases are only counted."""
MAX_SUGGESTED = 3
NAME = re.compile(
    r"(?P<arch>.+?)(?: on (?P<task>.+?))?(?: at (?P<length>[0-9][0-9,]*))?(?:,? seed (?P<seed>[0-9]+))?", re.DOTALL
)
"""Pattern of a case's name in a report, such as `lstm on first_last, seed 0`. Only the architecture is required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCase:
    """A case with the short names of its architecture and task in the run's report."""

    record: Record
    arch: str
    task: str

    @property
    def title(self) -> str:
        case = self.record.case
        return f"{self.arch} on {self.task} at {case.length}, seed {case.seed}"

    @property
    def digest(self) -> str:
        """The digest at the end of the key. It is unique within a run."""
        return self.record.key.rpartition(".")[2]


def named_cases(file: RunFile, records: Sequence[Record]) -> list[NamedCase]:
    """Return one `NamedCase` per record of a run, in the order of `records`."""
    short = reports.short_names(file, records)
    return [
        NamedCase(record=record, arch=short[record.key][0], task=short[record.key][1])
        for record in records
        if record.key in short
    ]


def find_cases(cases: Sequence[NamedCase], text: str) -> list[NamedCase]:
    """Return the cases whose key is `text`. If no case has this key, match by name, then by part of the key.

    Raises `UsageError` if no case matches.
    """
    matching = (
        [named for named in cases if named.record.key == text]
        or _by_name(cases, text)
        or [named for named in cases if text in named.record.key]
    )
    if not matching:
        hint = f"{_suggestion(cases, text)}; `carousel gates RUN --list` lists all cases"
        raise UsageError(f"no case {text!r} in this run{hint}")
    return matching


def find_case(cases: Sequence[NamedCase], text: str, command: Callable[[str], str]) -> Record:
    """Return the record of the only case that matches `text`.

    Raises `UsageError` if no case or several match. Of several, the message lists the digests and gives an example: the
    command line that `command` returns for a digest.
    """
    matching = find_cases(cases, text)
    if len(matching) == 1:
        return matching[0].record
    distinctions = differences([named.record.case for named in matching])
    listed = [f"{named.digest} ({distinction})" for named, distinction in zip(matching, distinctions, strict=True)]
    if len(matching) > MAX_LISTED:
        listed[MAX_LISTED:] = [f"and {len(matching) - MAX_LISTED} more: `carousel gates RUN CASE --list` lists them"]
    raise UsageError(
        f"{text!r} matches {len(matching)} cases; choose one by its digest, such as `{command(matching[0].digest)}`: "
        f"{'; '.join(listed)}"
    )


def differences(cases: Sequence[Case]) -> list[str]:
    """Return one description per case: the values that distinguish the case from the other cases.

    A field outside the protocol is given if it has a value and differs between any two cases. A field of the protocol
    is given if its value is not the most common one. Without any value, the description is `the most common protocol`.
    """
    rows = [case.model_dump(exclude={"protocol"}) for case in cases]
    differing = [field for field in rows[0] if len({str(row[field]) for row in rows}) > 1]
    protocols = [dict(case.protocol) for case in cases]
    common = {field: _most_common(protocol[field] for protocol in protocols) for field in protocols[0]}
    return [
        ", ".join(
            [
                *(
                    row[field] if field in ("arch", "task") else f"{field} {row[field]}"
                    for field in differing
                    if row[field] is not None
                ),
                *(f"{field}={value_text(value)}" for field, value in protocol.items() if value != common[field]),
            ]
        )
        or "the most common protocol"
        for row, protocol in zip(rows, protocols, strict=True)
    ]


def _by_name(cases: Sequence[NamedCase], text: str) -> list[NamedCase]:
    parts = NAME.fullmatch(text.strip())
    if parts is None:
        return []
    length = None if parts["length"] is None else int(parts["length"].replace(",", ""))
    candidates = [
        named
        for named in cases
        if length in (None, named.record.case.length)
        and (parts["seed"] is None or int(parts["seed"]) == named.record.case.seed)
    ]
    of_arch = _with_spec(candidates, "arch", parts["arch"])
    return of_arch if parts["task"] is None else _with_spec(of_arch, "task", parts["task"])


def _with_spec(cases: Sequence[NamedCase], kind: Literal["arch", "task"], spec: str) -> list[NamedCase]:
    """Return the cases whose short name or stored spec is `spec`.

    If no case matches, return the cases that match the canonical form of `spec`. `kind` says which spec is compared.
    """

    def matching(name: str) -> list[NamedCase]:
        return [named for named in cases if name in (getattr(named, kind), getattr(named.record.case, kind))]

    return matching(spec) or matching(_canonical(kind, spec))


def _canonical(kind: Literal["arch", "task"], spec: str) -> str:
    """Return the canonical spelling of `spec`, as cases store it. Invalid specs are returned unchanged.

    In this spelling, options are sorted and default values are omitted. Real values are written as `1.0`, not `1`.
    """
    if ":" not in spec:
        return spec
    try:
        if kind == "arch":
            import arch

            return str(arch.get(spec))
        import tasks

        return str(tasks.build(spec))
    except ValueError:
        return spec


def _suggestion(cases: Sequence[NamedCase], text: str) -> str:
    known: Mapping[str, str] = {
        name.lower(): name
        for named in cases
        for name in (
            named.record.key,
            named.arch,
            named.record.case.arch,
            f"{named.arch} on {named.task}",
            named.title,
        )
    }
    close = difflib.get_close_matches(text.lower(), known, n=MAX_SUGGESTED)
    return f" (did you mean {' or '.join(repr(known[name]) for name in close)}?)" if close else ""


def _most_common(values: Iterable[object]) -> object:
    return Counter(values).most_common(1)[0][0]
