"""New names of architectures and tasks: options, chains, circles and cases that would become one."""

from __future__ import annotations

import pytest

from results.comparison import RenameError, rename_run, renames, require_known, require_no_circle
from results.comparison.renaming import new_name
from tests.results.planted import case_of, run_of


@pytest.mark.parametrize(
    ("spec", "names", "expected"),
    [
        ("lstm", {"lstm": "memory"}, "memory"),
        ("lstm:bias=True", {"lstm": "memory"}, "memory:bias=True"),
        ("lstm:bias=True", {"lstm": "memory:kind=lstm"}, "memory:kind=lstm,bias=True"),
        ("lstm:forget=coupled", {"lstm:forget=coupled": "cifg", "lstm": "memory"}, "cifg"),
        ("lstm:forget=none", {"lstm:forget=coupled": "cifg"}, "lstm:forget=none"),
        ("a", {"b": "c", "a": "b"}, "c"),
        ("lstm2", {"lstm": "memory"}, "lstm2"),
        ("a", {}, "a"),
    ],
)
def test_a_spec_gets_its_latest_name(spec: str, names: dict[str, str], expected: str) -> None:
    assert new_name(spec, names) == expected


@pytest.mark.parametrize("names", [{"a": "a"}, {"a": "b", "b": "a"}, {"x": "a", "a": "b", "b": "c", "c": "a"}])
def test_a_circle_is_refused(names: dict[str, str]) -> None:
    with pytest.raises(RenameError, match="is a circle of new names"):
        require_no_circle(names)
    with pytest.raises(RenameError, match="is a circle of new names"):
        renames([], names)


@pytest.mark.parametrize("old", ["rnn", "lstm", "lstm:forget=coupled", "memory", "memory:forget=coupled", "first_last"])
def test_names_that_a_case_has_or_had_are_known(old: str) -> None:
    cases = [case_of("rnn"), case_of("lstm:forget=coupled")]
    require_known({old: "new"}, cases, {"lstm": "memory", old: "new"})


@pytest.mark.parametrize("old", ["rn", "lstm:forget=none", "new", "task"])
def test_a_name_that_no_case_has_is_refused(old: str) -> None:
    cases = [case_of("rnn"), case_of("lstm:forget=coupled")]
    with pytest.raises(RenameError, match=f"cannot rename '{old}': no case has this name"):
        require_known({old: "rnn"}, cases, {old: "rnn"})
    require_known({old: "rnn"}, cases, {old: "rnn"}, or_new=True)
    with pytest.raises(RenameError, match="no case has this name"):
        require_known({old: "foo"}, cases, {old: "foo"}, or_new=True)


def test_later_runs_and_the_command_line_override_names() -> None:
    (first, _), (second, _) = run_of([case_of("rnn")], 1), run_of([case_of("rnn")], 2)
    first = first.model_copy(update={"renamed": {"a": "b"}})
    back = second.model_copy(update={"renamed": {"b": "a"}})
    assert renames([first, second]) == {"a": "b"}
    assert renames([first, back]) == {"b": "a"}
    assert renames([first, back], {"a": "c"}) == {"b": "a", "a": "c"}
    assert renames([first], {"b": "c"}) == {"a": "b", "b": "c"}


def test_records_and_keys_follow_the_names() -> None:
    file, records = run_of([case_of("rnn"), case_of("lstm")], 1)
    renamed, moved, keys = rename_run(file, records, {"lstm": "memory"})
    assert [case.arch for case in renamed.cases] == [record.case.arch for record in moved] == ["rnn", "memory"]
    assert [record.key for record in moved] == [case.key for case in renamed.cases]
    assert keys == {records[0].key: records[0].key, records[1].key: moved[1].key}


def test_cases_that_would_become_one_are_refused() -> None:
    file, records = run_of([case_of("rnn"), case_of("lstm")], 1)
    with pytest.raises(RenameError, match="has both rnn and lstm"):
        rename_run(file, records, {"lstm": "rnn"})
