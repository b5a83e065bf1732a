"""Test what a plan is in a version that has older names, or plugins in another state."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.against import driver
from bench.against.described_plan import older_plans
from bench.against.planned import selected_cases
from bench.against.version import THIS, Version
from bench.against.version_plugins import plugins_of, shared_although_tracked, with_base_plugins
from bench.errors import OK, REGRESSED, USAGE, UsageError
from bench.machine.provenance import HOME
from bench.plans.extra import Extra, Pair
from bench.plans.override import Override
from bench.plugins import loader
from bench.runner.request import Request
from results import Case
from tests.bench.against.inline_version import Versions, measured, stored, versions
from tests.bench.against.repository import git
from tests.bench.carousel import Carousel, carousel
from tests.bench.plugin_files import ARCH
from tests.bench.tiny import TINY, tiny_case, tiny_plan, write_plan

__all__ = ["carousel", "measured", "versions"]


def test_a_base_with_an_older_name_is_measured_and_joined(
    measured: Carousel, versions: Versions, carousel: Carousel
) -> None:
    versions.unknown = "lstm"
    versions.slower = lambda case: 0.05 if case.arch == "lstm" else 0.0
    done = measured("--rename", "gru=lstm", "--fail-on", "streaming")
    assert done.code == REGRESSED, done.err
    assert "lstm on first_last 4: step" in done.out
    runs = stored()
    assert {case.arch for case in runs["base"][0].cases} == {"rnn", "gru"}
    assert {case.arch for case in runs["new"][0].cases} == {"rnn", "lstm"}
    assert {arch for side, arch in versions.timed if side == "base"} == {"rnn", "gru"}
    assert {arch for side, arch in versions.timed if side == "new"} == {"rnn", "lstm"}
    names = runs["base"][0].id, runs["new"][0].id
    again = carousel("check", *names, "--fail-on", "streaming", "--store", "store")
    assert again.code == REGRESSED, "the runs record the new name"


def test_a_new_name_of_the_plan_applies_too(measured: Carousel, versions: Versions, tmp_path: Path) -> None:
    write_plan(tmp_path, 'renamed = { gru = "lstm" }\n' + TINY)
    versions.unknown = "lstm"
    assert measured("--fail-on", "streaming").code == OK


def test_a_base_with_the_new_name_is_measured_under_it(measured: Carousel, versions: Versions) -> None:
    assert measured("--rename", "gru=lstm").code == OK
    assert {case.arch for case in stored()["base"][0].cases} == {"rnn", "lstm"}


@pytest.mark.parametrize("options", [(), ("--rename", "older=rnn")])
def test_an_architecture_that_the_base_lacks_is_named_and_the_others_are_compared(
    measured: Carousel, versions: Versions, options: tuple[str, ...]
) -> None:
    versions.unknown = "lstm"
    versions.slower = lambda case: 0.05 if case.arch == "rnn" else 0.0
    dry_run = measured(*options, "--dry-run")
    assert dry_run.code == OK, dry_run.err
    done = measured(*options)
    for each in (dry_run, done):
        assert "lacks lstm: such cases are missing there and not compared;" in each.out
        assert "add --rename OLD=lstm" in each.out
        assert "tiny: 1 case of this version in turns" in each.out
    assert done.code == REGRESSED, done.err
    assert "only in the new run: 1 case (lstm on first_last at 4)" in done.out
    assert {arch for _, arch in versions.timed} == {"rnn"}
    runs = stored()
    assert {side: [case.arch for case in file.cases] for side, (file, _) in runs.items()} == {
        "base": ["rnn"],
        "new": ["rnn", "lstm"],
    }
    versions.slower = lambda case: 0.0
    passed = measured(*options, "--json")
    assert passed.code == OK
    assert json.loads(passed.out)["added_cases"] == [{"arch": "lstm", "task": "first_last", "length": 4, "seed": 0}]


def test_an_architecture_that_the_base_lacks_is_left_out_of_each_grid(
    measured: Carousel, versions: Versions, tmp_path: Path
) -> None:
    extra = '\n[[extra]]\nlengths = [5]\n[[extra]]\narchs = ["lstm"]\nlengths = [6]\n'
    write_plan(tmp_path, TINY + extra)
    versions.unknown = "lstm"
    assert measured("--fail-on", "streaming").code == OK
    of_base = {(case.arch, case.length) for case in stored()["base"][0].cases}
    assert of_base == {("rnn", 4), ("rnn", 5)}


def test_a_base_that_lacks_all_of_the_plan_is_refused(measured: Carousel, versions: Versions) -> None:
    versions.unknown = "lstm"
    done = measured("-a", "lstm")
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "lacks lstm, and the plan has no other cases; choose another base or, if it has an older name" in done.err
    assert not Path("store").exists()


@pytest.mark.parametrize(
    ("archs", "tasks", "expected"),
    [
        (["rnn", "nonsuch"], ["first_last", "nosuch"], (["nonsuch"], ["nosuch"])),
        (["lstm:nosuch=1", "lstm:forget=nonsuch", "lstm"], [], (["lstm:nosuch=1", "lstm:forget=nonsuch"], [])),
        (["lstm"], ["recall:nosuch=1", "recall:pairs=x"], ([], ["recall:nosuch=1", "recall:pairs=x"])),
    ],
)
def test_a_version_says_which_specs_it_lacks(
    archs: list[str], tasks: list[str], expected: tuple[list[str], list[str]]
) -> None:
    found = driver.lacking({"archs": archs, "tasks": tasks, "plugins": []})
    assert (found["archs"], found["tasks"]) == expected


@pytest.mark.parametrize(
    ("text", "said"), [("lstm", "--rename takes OLD=NEW"), ("lstm=gru,gru=lstm", "--rename takes OLD=NEW")]
)
def test_a_wrong_renaming_is_refused(measured: Carousel, text: str, said: str) -> None:
    done = measured("--rename", text)
    assert (done.code, done.out) == (USAGE, "")
    assert said in done.err


def test_a_renaming_of_names_that_neither_version_has_is_refused(measured: Carousel, versions: Versions) -> None:
    done = measured("--rename", "nosuch=foo")
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "cannot rename 'nosuch': no case has this name; available: " in done.err
    assert not Path("store").exists() and not versions.timed


def test_a_renaming_that_joins_two_cases_of_a_version_is_refused_before_measuring(
    measured: Carousel, versions: Versions, tmp_path: Path
) -> None:
    done = measured("-a", "lstm", "-a", "gru", "--rename", "gru=lstm")
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "has both" in done.err and "which would become one; leave out this renaming" in done.err
    assert not Path("store").exists() and not versions.timed


def test_a_circle_is_refused(measured: Carousel, versions: Versions) -> None:
    done = measured("--rename", "lstm=gru", "--rename", "gru=lstm")
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "is a circle of new names" in done.err


def test_older_plans_have_all_combinations_of_older_names_everywhere(tmp_path: Path) -> None:
    plan = tiny_plan(
        tmp_path,
        archs=("new:width=3", "rnn"),
        tasks=("later",),
        override=(Override(archs=("new",), protocol={"steps": 2}),),
        extra=(Extra(archs=("new",), pairs=(Pair(task="later", lengths=(4,)),)),),
    )
    older = list(older_plans(plan, {"old": "new", "earlier": "later"}))
    assert [(each.archs[0], each.tasks[0]) for each in older] == [
        ("old:width=3", "later"),
        ("new:width=3", "earlier"),
        ("old:width=3", "earlier"),
    ]
    assert older[-1].override[0].archs == ("old",)
    assert older[-1].extra[0].archs == ("old",)
    assert older[-1].extra[0].pairs[0].task == "earlier"
    assert {each.archs[1] for each in older} == {"rnn"}


def test_older_plans_follow_a_chain_of_names(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, archs=("third",))
    assert {each.archs for each in older_plans(plan, {"first": "second", "second": "third"})} >= {
        ("second",),
        ("first",),
    }


def test_a_case_is_selected_by_its_old_or_its_new_name() -> None:
    cases: list[Case] = [tiny_case("gru"), tiny_case("rnn")]
    for pattern in ("gru*", "lstm on first_last"):
        assert [case.arch for case in selected_cases(cases, pattern, {"gru": "lstm"})] == ["gru"]


def plugin_file(folder: Path, start: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "scaled.py"
    path.write_text(ARCH.format(name="scaled").replace("start: float = 1.0", f"start: float = {start}"))
    return path


def test_a_plugin_in_the_checkout_is_that_of_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.against.version_plugins.HOME", tmp_path / "this")
    here, there = (plugin_file(tmp_path / name / "examples", start) for name, start in (("this", 1.0), ("base", 2.0)))
    (given,), (of_base,) = loader.read([here]), loader.read([there])
    base = Version(name="the base", home=tmp_path / "base")
    assert plugins_of(base, (given,), [here]) == (of_base,)
    assert plugins_of(Version(name="this", home=tmp_path / "this"), (given,), [here]) == (given,)
    assert of_base.digest != given.digest


def test_any_other_plugin_is_the_same_in_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.against.version_plugins.HOME", tmp_path / "this")
    elsewhere, missing = plugin_file(tmp_path / "mine", 1.0), plugin_file(tmp_path / "this", 1.0)
    (tmp_path / "base").mkdir()
    base = Version(name="the base", home=tmp_path / "base")
    for file in (elsewhere, missing):
        (given,) = loader.read([file])
        assert plugins_of(base, (given,), [file]) == (given,)
        assert plugins_of(Version(name="a Python", python="python3"), (given,), [file]) == (given,)


def test_the_base_has_the_plugin_that_is_given_for_it(tmp_path: Path) -> None:
    (given,), (of_base,) = (
        loader.read([plugin_file(tmp_path / name, at)]) for name, at in (("new", 1.0), ("old", 2.0))
    )
    assert with_base_plugins((given,), [tmp_path / "old" / "scaled.py"]) == (of_base,)
    assert with_base_plugins((given,), []) == (given,)
    with pytest.raises(UsageError, match=r"^--base-plugin .*: this version has no plugin 'scaled'; give its present"):
        with_base_plugins((), [tmp_path / "old" / "scaled.py"])
    with pytest.raises(UsageError, match=r"^--base-plugin .*missing\.py: cannot read the file"):
        with_base_plugins((given,), [tmp_path / "missing.py"])


def test_both_states_of_a_plugin_are_measured(measured: Carousel, versions: Versions, tmp_path: Path) -> None:
    new, old = (str(plugin_file(tmp_path / name, at)) for name, at in (("new", 1.0), ("old", 2.0)))
    done = measured("-a", "scaled", "--plugin", new, "--base-plugin", old, "--pairs", "8", "--fail-on", "streaming")
    assert done.code == OK, done.err
    assert "each version has its own state of the plugin: scaled" in done.out
    assert "both versions have the same code" not in done.out
    digests = {side: file.plugins["scaled"] for side, (file, _) in stored().items()}
    assert digests["base"] != digests["new"]
    assert str(tmp_path) not in stored()["new"][0].command


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two git repositories that have a plugin: `carousel`, that of this version, and `mine`."""
    for name in ("carousel", "mine"):
        plugin_file(tmp_path / name, 1.0)
        git(tmp_path / name, "init", "--quiet")
    monkeypatch.setattr("bench.against.version_plugins.HOME", tmp_path / "carousel")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "revision", "archs", "given", "is_named"),
    [
        ("mine", "HEAD~1", ("scaled",), False, True),
        ("mine", None, ("scaled",), False, False),
        ("mine", "HEAD~1", ("rnn",), False, False),
        ("mine", "HEAD~1", ("scaled",), True, False),
        ("carousel", "HEAD~1", ("scaled",), False, False),
        ("nowhere", "HEAD~1", ("scaled",), False, False),
    ],
)
def test_a_plugin_of_another_repository_that_a_revision_does_not_change_is_named(
    repositories: Path, place: str, revision: str | None, archs: tuple[str, ...], given: bool, is_named: bool
) -> None:
    base = Version(name="revision HEAD~1", home=repositories / "carousel", revision=revision)
    file = plugin_file(repositories / place, 1.0)
    plan = tiny_plan(repositories, archs=archs)
    request = Request(plan_name="tiny", plan=plan, store=repositories, command="", plugins=tuple(loader.read([file])))
    found = shared_although_tracked(base, request, [file], [file] if given else [])
    expected = (
        f"revision HEAD~1 is of Carousel's repository {repositories / 'carousel'}, not of {repositories / 'mine'}, so "
        "the plugin scaled is the same in both versions and its changes cannot show"
    )
    assert found == ([expected] if is_named else [])


def test_a_run_says_that_the_revision_does_not_change_the_plugin(
    measured: Carousel, versions: Versions, repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def given_version(base: str, **_: object) -> Iterator[Version]:
        yield Version(name="revision HEAD~1", home=HOME, revision="HEAD~1")

    monkeypatch.setattr("bench.against.planned.given_version", given_version)
    file = str(repositories / "mine" / "scaled.py")
    done = measured("-a", "scaled", "--plugin", file, "--dry-run")
    assert done.code == OK, done.err
    assert "its changes cannot show; check out its other state, and give the file by --base-plugin" in done.out


def test_the_output_says_which_plugin_each_version_has(
    measured: Carousel, versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(plugin_file(tmp_path / "mine", 1.0))
    done = measured("-a", "scaled", "--plugin", file, "--pairs", "8", "--dry-run")
    assert done.code == OK, done.err
    assert "the same plugin in both versions: scaled" in done.out
    assert THIS.home == HOME
