"""Test `carousel bisect`: the search, and the command on revisions whose timings are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from bench.against.planned import Settings
from bench.against.version import Version, revisions_between
from bench.cli import main
from bench.commands.bisect import FLAGS, Answer, Suspects, command_between, commits_to_search, search
from bench.errors import FAILED, INTERRUPTED, NOTHING_SELECTED, OK, USAGE, UsageError
from bench.executors.jobs import Failure
from bench.machine.provenance import HOME
from results import Case
from tests.bench.against.inline_version import Versions, versions
from tests.bench.against.repository import git, repository
from tests.bench.carousel import Carousel, Completed, carousel

__all__ = ["carousel", "repository", "versions"]

COMMITS = [(f"{number}" * 40, f"change {number}") for number in range(6)]


@given(data=st.data())
def test_a_search_contains_the_first_bad_commit_and_is_exact_without_unknown_ones(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    first_bad = data.draw(st.integers(0, count - 1))
    unknown = data.draw(st.sets(st.integers(0, count - 2), max_size=5)) if count > 1 else set()
    judged: list[int] = []

    def judge(position: int) -> Answer:
        judged.append(position)
        return "unknown" if position in unknown else "bad" if position >= first_bad else "good"

    found = search(count, judge)
    assert found is not None
    assert found.first <= first_bad <= found.last
    assert len(judged) == len(set(judged)) <= count.bit_length() + 1 + len(unknown)
    assert set(range(found.first, found.last)) <= unknown
    if not unknown:
        assert found == Suspects(first_bad, first_bad)


@pytest.mark.parametrize("answer", ["good", "unknown"])
def test_nothing_is_searched_if_the_last_commit_is_not_bad(answer: Answer) -> None:
    assert search(5, lambda position: answer) is None


@pytest.fixture
def bisected(carousel: Carousel, versions: Versions, monkeypatch: pytest.MonkeyPatch) -> Carousel:
    """Return a function that searches `COMMITS`, whose version is this checkout."""

    @contextmanager
    def found(revision: str, **_: object) -> Iterator[Version]:
        versions.commit = revision
        yield Version(name=f"revision {revision}", home=HOME)

    monkeypatch.setattr("bench.commands.bisect.revisions_between", lambda good, bad, **_: COMMITS)
    monkeypatch.setattr("bench.commands.bisect.found_version", found)

    def run(*options: str) -> Completed:
        words = ("bisect", "v1", "main", "tiny.toml", "--seeds", "1", "--measure", "accuracy,streaming")
        return carousel(*words, *options, "--store", "store")

    return run


def slow_since(versions: Versions, position: int) -> None:
    def slower(case: Case) -> float:
        return 0.2 if versions.commit >= COMMITS[position][0] and case.arch.startswith("lstm") else 0.0

    versions.slower = slower


def test_the_first_slow_commit_is_found(bisected: Carousel, versions: Versions) -> None:
    slow_since(versions, 3)
    done = bisected()
    assert done.code == OK, done.err
    assert "the first bad commit:\n  3333333333 change 3" in done.out
    assert "6 commits from v1 to main change Carousel's packages" in done.out
    assert "lstm on first_last 4" in done.out


def test_only_the_named_cases_are_measured(bisected: Carousel, versions: Versions) -> None:
    slow_since(versions, 0)
    assert bisected("--case", "rnn on *").code == NOTHING_SELECTED
    assert {arch for _, arch in versions.timed} == {"rnn"}


def test_a_document_has_all_steps(bisected: Carousel, versions: Versions) -> None:
    slow_since(versions, 5)
    document = json.loads(bisected("--json").out)
    assert document["suspects"] == [{"commit": COMMITS[5][0], "subject": "change 5"}]
    assert [step["answer"] for step in document["steps"]][:2] == ["bad", "good"]
    assert document["exit_code"] == OK


def test_nothing_regressed(bisected: Carousel, versions: Versions) -> None:
    done = bisected()
    assert done.code == NOTHING_SELECTED
    assert "nothing to find: main has not regressed from v1" in done.out


def test_commits_that_cannot_be_measured_are_passed_over(bisected: Carousel, versions: Versions) -> None:
    slow_since(versions, 3)

    def failing(side: str, job: object) -> Failure | None:
        return Failure("crashed", "it fell over") if side == "new" and versions.commit == COMMITS[2][0] else None

    versions.failing = failing
    done = bisected()
    assert done.code == FAILED
    assert "one of these 2 commits is the first bad one:" in done.out
    assert "cannot be told: 2222222222 change 2" in done.out


def test_doubtful_results_stop_the_search_at_once(bisected: Carousel, versions: Versions) -> None:
    versions.noise = lambda case: 0.2
    done = bisected("--pairs", "8")
    assert done.code == FAILED
    assert "whether main has regressed from v1 cannot be told" in done.out
    assert " inconclusive, " in done.out and "more pairs" in done.out


def test_a_commit_that_cannot_be_judged_has_the_reason_of_the_check(bisected: Carousel, versions: Versions) -> None:
    versions.load = 1.0
    done = bisected("--pairs", "8")
    assert done.code == FAILED
    assert "rows inconclusive, noisy: 100% of blocks were disturbed; repeat on a quiet machine" in done.out
    assert "pairs" not in done.out.partition("cannot be told")[2]


def test_a_commit_whose_case_failed_has_the_reason_of_the_failure(bisected: Carousel, versions: Versions) -> None:
    versions.failing = lambda side, job: Failure("crashed", "it fell over") if side == "new" else None
    done = bisected()
    assert done.code == FAILED
    assert "newly failed: lstm on first_last at 4, seed 0: crashed: it fell over; 1 more" in done.out


@pytest.mark.parametrize(
    ("interrupted", "bounds"),
    [(5, "v1 main"), pytest.param(1, "0000000000 2222222222", marks=pytest.mark.slow)],
)
def test_ctrl_c_gives_the_command_that_continues_between_the_bounds_found(
    bisected: Carousel, versions: Versions, interrupted: int, bounds: str
) -> None:
    slow_since(versions, 1)

    def stop(side: str, job: object) -> None:
        if versions.commit == COMMITS[interrupted][0]:
            raise KeyboardInterrupt

    versions.failing = stop
    done = bisected("--case", "lstm*")
    assert done.code == INTERRUPTED
    assert "rerun the same command" not in done.out
    command = f"carousel bisect {bounds} tiny.toml --seeds 1 --measure accuracy,streaming --case 'lstm*' --store store"
    assert done.out.splitlines()[-1] == f"to continue the search, run `{command}`"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["good", "bad"], "a b"),
        (["--case", "good", "-v", "good", "bad", "bad"], "--case good -v a b bad"),
        (["--case=x", "good", "--json", "--", "bad"], "--case=x a --json -- b"),
        (["--store", "bad", "good", "--case", "good", "bad"], "--store bad a --case good b"),
    ],
)
def test_only_the_revisions_of_a_command_are_replaced(words: list[str], expected: str) -> None:
    assert command_between(["bisect", *words], ("good", "bad"), ("a", "b")) == f"carousel bisect {expected}"


def test_the_flags_of_the_command_are_known() -> None:
    parameters = typer.main.get_command(main.app).commands["bisect"].params  # type: ignore[attr-defined]
    flags = {name for each in parameters if getattr(each, "is_flag", False) for name in each.opts}
    assert flags | {"--"} == FLAGS


def test_a_pattern_without_cases_is_refused_before_anything_is_measured(bisected: Carousel) -> None:
    done = bisected("--case", "lstn*")
    assert (done.code, done.out, len(done.err.splitlines())) == (USAGE, "", 1)
    assert "--case lstn* matches no case of the plan; its names are like 'lstm on first_last at 4'" in done.err
    assert not Path("store").exists()


def test_a_metric_that_the_plan_does_not_measure_is_refused(bisected: Carousel) -> None:
    done = bisected("--fail-on", "latency")
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "--fail-on latency: no probe of the plan (accuracy, streaming) measures it" in done.err
    assert not Path("store").exists()


@pytest.mark.parametrize(("good", "bad"), [("nothing", "HEAD"), ("HEAD", "nothing"), ("HEAD-dirty", "HEAD")])
def test_an_unknown_revision_is_refused(repository: Path, good: str, bad: str) -> None:
    with pytest.raises(UsageError, match="is no git revision of"):
        revisions_between(good, bad, repository)


def test_commits_are_listed_from_old_to_new_if_they_change_the_packages(repository: Path) -> None:
    def commit(file: str, subject: str) -> None:
        (repository / file).write_text(subject)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "-m", subject)

    commit("arch/one.py", "first")
    commit("README", "text only")
    commit("bench/two.py", "second")
    assert [subject for _, subject in revisions_between("HEAD~3", "HEAD", repository)] == ["first", "second"]
    assert revisions_between("HEAD~2", "HEAD~1", repository) == []
    assert [subject for _, subject in revisions_between("HEAD~3", "HEAD", repository, paths=["README"])] == [
        "text only"
    ]
    with pytest.raises(UsageError, match="HEAD is no ancestor of HEAD~1; give the older revision first"):
        revisions_between("HEAD", "HEAD~1", repository)


@pytest.fixture
def in_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the repository, in which the revisions are looked up, with a commit of one plugin and one of the pins."""
    monkeypatch.setattr("bench.against.version_plugins.HOME", repository)
    monkeypatch.setattr(
        "bench.commands.bisect.revisions_between",
        lambda good, bad, **options: revisions_between(good, bad, repository, **options),
    )
    for file, text in (("my [plugins]/scaled.py", ""), ("constraints.txt", "numpy==0.0.2\n")):
        (repository / file).parent.mkdir(exist_ok=True)
        (repository / file).write_text(text)
        git(repository, "add", "--all")
        git(repository, "commit", "--quiet", "-m", f"change {file}")
    return repository


def settings_of(*plugins: Path, build: bool = False) -> Settings:
    return Settings(base="HEAD", pairs=8, plugin_files=plugins, build=build)


def test_commits_that_change_only_a_plugin_or_with_build_only_the_pins_count(in_repository: Path) -> None:
    plugin = in_repository / "my [plugins]" / "scaled.py"
    commits, changed = commits_to_search("HEAD~2", "HEAD", settings_of(plugin))
    assert [subject for _, subject in commits] == ["change my [plugins]/scaled.py"]
    assert changed == "Carousel's packages or my [plugins]/scaled.py"
    commits, changed = commits_to_search("HEAD~2", "HEAD", settings_of(build=True))
    assert [subject for _, subject in commits] == ["change constraints.txt"]
    assert changed == "Carousel's packages or constraints.txt or pyproject.toml"


def test_a_plugin_that_no_commit_changes_is_named_once(
    bisected: Carousel, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.bisect.shared_although_tracked", lambda *_: ["the plugin is the same"])
    slow_since(versions, 5)
    assert bisected().out.count("the plugin is the same; to find its commit, run git bisect there") == 1


def test_commits_that_change_nothing_that_is_measured_are_refused(in_repository: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine" / "scaled.py"
    with pytest.raises(UsageError) as refused:
        commits_to_search("HEAD~2", "HEAD~1", settings_of(elsewhere))
    expected = "no commit from HEAD~2 to HEAD~1 changes Carousel's packages, so none can be the cause"
    assert str(refused.value) == expected
    with pytest.raises(UsageError, match="to measure commits with the packages that they pin, add --build"):
        commits_to_search("HEAD~2", "HEAD", settings_of())


def test_revisions_without_a_change_of_the_packages_are_refused(carousel: Carousel) -> None:
    done = carousel("bisect", "HEAD", "HEAD", "tiny.toml")
    assert done.code == USAGE
    assert "changes Carousel's packages" in done.err or "is no git revision" in done.err
