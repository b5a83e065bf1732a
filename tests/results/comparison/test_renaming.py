"""New names of architectures and tasks: options, chains, circles and cases that would become one."""

from __future__ import annotations

import pytest

from results.comparison import RenameError, rename_run, renames, require_no_circle
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
