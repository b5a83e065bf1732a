"""Join the cases of architectures and tasks that were renamed between runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from results.schema.case import Case
from results.schema.record import Record
from results.schema.run import RunFile
from results.specs.registry import suggestion

Renamed = Mapping[str, str]
"""New names by old names: names of architectures or tasks, or specs with options."""


class RenameError(ValueError):
    """Error for names that cannot be joined. Its message says what to do."""


def renames(runs: Iterable[RunFile], given: Renamed | None = None) -> dict[str, str]:
    """Return the new names by old names that apply to runs: those of their plans, then `given`.

    A later run overrides an earlier one. If it gives an old name as a new one, as after a renaming back, the name is
    no longer an old one. Raises `RenameError` if a run or `given` renames in a circle.
    """
    names: dict[str, str] = {}
    for mapping in (*(run.renamed for run in runs), given or {}):
        require_no_circle(mapping)
        for new in mapping.values():
            if new not in mapping:
                names.pop(new, None)
        names |= mapping
    return names


def require_no_circle(names: Renamed) -> None:
    """Raise `RenameError` if a name becomes itself again."""
    for old in names:
        seen = [old]
        while (following := names.get(seen[-1])) is not None:
            if following in seen:
                raise RenameError(f"{' → '.join([*seen, following])} is a circle of new names; leave one of them out")
            seen.append(following)


def require_known(given: Renamed, cases: Iterable[Case], names: Renamed, *, or_new: bool = False) -> None:
    """Raise `RenameError` if no case has, or had, one of the old names that a user gave.

    Args:
        given: The new names by old names that the user gave.
        cases: The cases of all runs, under the names with which they were stored.
        names: All new names by old names, as `renames` returns them.
        or_new: Whether the new name may be known instead, because no case need have the old one.
    """
    specs = {spec for case in cases for spec in (case.arch, case.task)}
    stages = {stage for spec in specs for stage in _stages(spec, names)}
    known = stages | {stage.partition(":")[0] for stage in stages}
    for old, new in given.items():
        if old in known or (or_new and new.partition(":")[0] in known):
            continue
        # The names alone are listed: options are shown only to a user who gave some.
        choices = known if ":" in old else {spec.partition(":")[0] for spec in specs}
        raise RenameError(f"cannot rename {old!r}: no case has this name{suggestion(old, sorted(choices))}")


def new_name(spec: str, names: Renamed) -> str:
    """Return the latest name of an architecture or a task.

    A renamed spec must match in full. A renamed name keeps the options.

    >>> new_name("leaky:keep=0.9", {"leaky": "leaky_integrator"})
    'leaky_integrator:keep=0.9'
    """
    *_, latest = _stages(spec, names)
    return latest


def _stages(spec: str, names: Renamed) -> Iterator[str]:
    """Yield the names that an architecture or a task has had: the one that is given, and each later one."""
    yield spec
    for _ in range(len(names)):
        name, colon, options = spec.partition(":")
        if spec in names:
            spec = names[spec]
        elif name in names:
            spec = names[name] + (("," if ":" in names[name] else colon) + options if options else "")
        else:
            break
        yield spec


def rename_run(
    file: RunFile, records: Sequence[Record], names: Renamed
) -> tuple[RunFile, list[Record], dict[str, str]]:
    """Return a run and its records under the latest names, and the new keys of its cases by their old keys.

    Raises `RenameError` if two cases of the run would become one.
    """
    if not names:
        return file, list(records), {}
    renamed = rename_cases((*file.cases, *(record.case for record in records)), names, f"the run {file.id}")
    old_keys = {case.key: key for key, case in renamed.items()}
    moved = [
        record.model_copy(update={"case": renamed[record.case.key], "key": renamed[record.case.key].key})
        for record in records
    ]
    copy = file.model_copy(update={"cases": tuple(renamed[case.key] for case in file.cases)})
    return copy, moved, {old: new for new, old in old_keys.items()}


def rename_cases(cases: Iterable[Case], names: Renamed, owner: str) -> dict[str, Case]:
    """Return cases under the latest names by their old keys.

    `owner` says in an error which run or version has the cases. Raises `RenameError` if two of them would become one.
    """
    by_key = {case.key: case for case in cases}
    renamed = {key: rename_case(case, names) for key, case in by_key.items()}
    old_keys: dict[str, str] = {}
    for key, case in renamed.items():
        if (other := old_keys.setdefault(case.key, key)) != key:
            before, after = by_key[other], by_key[key]
            kind = "arch" if before.arch != after.arch else "task"
            raise RenameError(
                f"{owner} has both {getattr(before, kind)} and {getattr(after, kind)}, which would become one; leave "
                "out this renaming"
            )
    return renamed


def rename_case(case: Case, names: Renamed) -> Case:
    """Return a case under the latest names of its architecture and its task."""
    return case.model_copy(update={"arch": new_name(case.arch, names), "task": new_name(case.task, names)})
