"""The regression guard in `examples/`: its files are valid, and its commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.machine.provenance import HOME
from bench.plans.grid import cases
from bench.plans.plan import load
from results import Case, Store
from results.comparison import compare
from tests.bench.against.inline_version import Versions, versions
from tests.bench.carousel import Carousel, carousel
from tests.bench.tiny import write_plan
from tests.results.planted import run_of

__all__ = ["carousel", "versions"]

EXAMPLE = HOME / "examples" / "regression-guard"
SCHEMAS = {
    "action.yml": "vendor.github-actions",
    "guard.yml": "vendor.github-workflows",
    "comment.yml": "vendor.github-workflows",
}
SUMMARY = "**1 regressed**"
PULL = '[{"number": 5, "head": {"sha": "abc"}}]'
OTHERS_COMMENT = '{"id": 1, "user": {"type": "User"}, "body": "<!-- carousel regression guard -->"}'
OWN_COMMENT = '{"id": 7, "user": {"type": "Bot"}, "body": "<!-- carousel regression guard -->\\nold"}'


def document(name: str) -> Any:
    return yaml.safe_load((EXAMPLE / name).read_text(encoding="utf-8"))


def steps(name: str) -> list[dict[str, Any]]:
    read = document(name)
    if name == "action.yml":
        return list(read["runs"]["steps"])
    return [step for job in read["jobs"].values() for step in job["steps"]]


def step(file: str, name: str) -> str:
    return next(str(each["run"]) for each in steps(file) if each.get("name") == name)


def commands_of_readme() -> list[str]:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def run_step(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script of a step as GitHub's runner does, with the programs in `folder` first on the path."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_follow_the_schemas_of_github(name: str) -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    checked = subprocess.run(
        [checker, "--builtin-schema", SCHEMAS[name], EXAMPLE / name], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_no_job_that_runs_code_of_a_pull_request_can_write() -> None:
    guard, comment = document("guard.yml"), document("comment.yml")
    assert guard["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in guard["jobs"].values())
    assert {each.get("uses", "").partition("@")[0] for each in steps("comment.yml")} == {
        "actions/download-artifact",
        "",
    }
    assert comment["permissions"] == {"actions": "read", "pull-requests": "write"}


def test_no_script_contains_an_expression_of_github() -> None:
    for name in SCHEMAS:
        assert all("${{" not in each.get("run", "") for each in steps(name))  # a branch name could be a command


def test_the_action_runs_the_command_of_the_readme() -> None:
    command = step("action.yml", "Measure in turns").splitlines()[-1].replace("carousel-guard/", "")
    assert command.replace('"$PLAN"', "guard.toml").replace('"$BASE"', "HEAD~1") == commands_of_readme()[0]


@pytest.mark.parametrize(("name", "trains"), [("guard.toml", True), ("timings.toml", False)])
def test_plans_are_valid(name: str, trains: bool) -> None:
    plan = load(str(EXAMPLE / name))
    assert {case.protocol.optimizer != "none" for case in cases(plan)} == {trains}
    assert ("accuracy" in plan.measure) is trains
    assert name in {word for command in commands_of_readme() for word in command.split()}


def guard_cases() -> list[Case]:
    return [case for case in cases(load(str(EXAMPLE / "guard.toml"))) if case.is_reported]


@pytest.mark.parametrize("arch", ["lstm", "rnn"])
def test_the_models_of_the_guard_learn_so_that_their_scores_can_fall(arch: str) -> None:
    case = next(case for case in guard_cases() if case.arch.startswith(arch))
    record = run_training_job(TrainJob(case=case), lambda *_: None).record
    (reference,) = record.reference_scores
    (score,) = record.of("accuracy")[0].samples
    assert reference.memoryless_score == 0.75
    assert score > 0.9
    (file, _) = run_of([case], 1)
    assert compare((file, [record]), (file, [record])).at_floor == ()


@pytest.mark.parametrize(("loss", "code"), [(0.0, 0), (0.05, 1)])
def test_the_guard_sees_a_loss_of_score_of_one_architecture(
    carousel: Carousel, tmp_path: Path, loss: float, code: int
) -> None:
    """The scores vary by 0.01 over the seeds, as those of the trained models do."""

    def run(draw: int, loss: float) -> str:
        def scored(case: Case, generator: np.random.Generator) -> float:
            return 0.94 + 0.01 * generator.standard_normal() - (loss if case.arch.startswith("lstm") else 0.0)

        file, records = run_of(guard_cases(), draw, scored=scored)
        stored = Store(tmp_path / "runs").create(file)
        for record in records:
            stored.write(record)
        return file.id

    command = ("check", run(1, 0.0), run(2, loss), "--fail-on", "accuracy:-0.02", "--store", "runs")
    assert carousel(*command).code == code


def test_a_slower_change_fails_with_a_summary(carousel: Carousel, versions: Versions, tmp_path: Path) -> None:
    """The command of the README runs on the smallest plan, and so do the commands that look back."""
    write_plan(tmp_path).rename(tmp_path / "guard.toml")
    measure, *others = (shlex.split(line)[1:] for line in commands_of_readme() if "bisect" not in line)
    versions.slower = lambda case: 0.1 if case.arch.startswith("lstm") else 0.0
    done = carousel(*(str(HOME) if word == "HEAD~1" else word for word in measure))
    assert done.code == 1, done.err
    assert "failed: " in done.out
    base, new = Store(tmp_path / "runs").runs()
    assert base.file().turns is not None and new.file().turns is not None
    assert len(list(ElementTree.parse(tmp_path / "carousel.xml").getroot().iter("testcase"))) > 3
    summary = (tmp_path / "carousel.md").read_text(encoding="utf-8")
    assert summary.startswith("### Carousel check: failed\n")
    assert re.search(r"noise: \d+ timings, known to ±[\d.]+% .{0,2}median.{0,2}, at worst to ±[\d.]+%", summary)
    assert summary.index("regressed |") < summary.index("<details>")
    for command in (words for words in others if "--against" not in words):
        ended = carousel(*command)
        assert ended.code == 0, f"{command}: {ended.out}{ended.err}"
    timings = json.loads((tmp_path / "timings.json").read_text(encoding="utf-8"))
    assert {benchmark["params"]["arch"] for benchmark in timings["benchmarks"]} == {"rnn", "lstm"}


def test_the_bisect_command_has_known_options(carousel: Carousel, tmp_path: Path) -> None:
    command = next(shlex.split(line)[1:] for line in commands_of_readme() if "bisect" in line)
    write_plan(tmp_path).rename(tmp_path / "guard.toml")
    assert "is no git revision" in carousel(*command[:1], "no-such-revision", *command[2:]).err


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_action_has_the_exit_code_of_the_check_and_passes_its_inputs_as_they_are(tmp_path: Path, code: int) -> None:
    program(tmp_path, "carousel", f'printf "%s\\n" "$@" > arguments; exit {code}')
    ran = run_step(step("action.yml", "Measure in turns"), tmp_path, PLAN="my plan.toml", BASE="$(touch attacked)")
    assert ran.returncode == code
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:4] == ["run", "my plan.toml", "--against", "$(touch attacked)"]
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("plan", "base", "missing"), [("quick", "", "base"), ("quick", " \n", "base"), ("", "HEAD", "plan")]
)
def test_the_action_names_an_empty_input_and_measures_nothing(
    tmp_path: Path, plan: str, base: str, missing: str
) -> None:
    program(tmp_path, "carousel", "touch measured")
    ran = run_step(step("action.yml", "Measure in turns"), tmp_path, PLAN=plan, BASE=base)
    assert (ran.returncode, len(ran.stdout.splitlines())) == (2, 1)
    assert ran.stdout.startswith(f"::error::the input '{missing}' is empty; give ")
    assert not (tmp_path / "measured").exists()


@pytest.mark.parametrize("base", ["nosuch", ""])
def test_the_action_never_shows_the_summary_of_an_earlier_use(tmp_path: Path, base: str) -> None:
    (tmp_path / "carousel-guard").mkdir()
    (tmp_path / "carousel-guard" / "carousel.md").write_text(SUMMARY)
    program(tmp_path, "carousel", "exit 2")
    assert run_step(step("action.yml", "Measure in turns"), tmp_path, PLAN="quick", BASE=base).returncode == 2
    assert run_step(step("action.yml", "Show the summary"), tmp_path, GITHUB_STEP_SUMMARY="shown.md").returncode == 0
    assert SUMMARY not in (tmp_path / "shown.md").read_text()


def test_two_uses_of_the_action_can_keep_their_results_apart() -> None:
    (kept,) = [each["with"]["name"] for each in steps("action.yml") if each.get("name") == "Keep the results"]
    (shown,) = [each["with"]["name"] for each in steps("comment.yml") if "download" in each.get("uses", "")]
    assert kept == "${{ inputs.artifact }}"
    assert document("action.yml")["inputs"]["artifact"]["default"] == shown


@pytest.mark.parametrize("is_measured", [True, False])
def test_the_action_shows_the_summary_or_says_that_there_is_none(tmp_path: Path, is_measured: bool) -> None:
    if is_measured:
        (tmp_path / "carousel-guard").mkdir()
        (tmp_path / "carousel-guard" / "carousel.md").write_text(SUMMARY)
    ran = run_step(step("action.yml", "Show the summary"), tmp_path, GITHUB_STEP_SUMMARY="shown.md")
    assert ran.returncode == 0, ran.stderr
    shown = (tmp_path / "shown.md").read_text()
    assert shown == (SUMMARY if is_measured else "### Carousel check: not measured; the log of the job says why\n")


@pytest.mark.parametrize(
    ("pulls", "comments", "called"),
    [
        (PULL, f"[{OTHERS_COMMENT}]", "POST repos/o/r/issues/5/comments"),
        (
            '[{"number": 5, "head": {"sha": "abc"}}]',
            f"[{OTHERS_COMMENT}, {OWN_COMMENT}]",
            "PATCH repos/o/r/issues/comments/7",
        ),
        (PULL.replace("abc", "newer"), "[]", None),
        ("[]", "[]", None),
    ],
)
def test_one_comment_is_written_and_then_replaced(
    tmp_path: Path, pulls: str, comments: str, called: str | None
) -> None:
    (tmp_path / "carousel-guard").mkdir()
    (tmp_path / "carousel-guard" / "carousel.md").write_text(f"{SUMMARY} ±\n")
    written = comment(tmp_path, pulls, comments)
    assert written == (None if called is None else f"{called}\n<!-- carousel regression guard -->\n{SUMMARY} ±\n")


def test_the_comment_says_that_there_is_no_result_if_there_is_no_artifact(tmp_path: Path) -> None:
    (download,) = [each for each in steps("comment.yml") if "download" in each.get("uses", "")]
    assert download["continue-on-error"] is True
    (tmp_path / "carousel-guard").mkdir()
    (tmp_path / "carousel-guard" / "carousel.md").write_text(SUMMARY)
    assert run_step(step("comment.yml", "Remove an old summary"), tmp_path).returncode == 0
    assert comment(tmp_path, PULL, f"[{OWN_COMMENT}]") == (
        "PATCH repos/o/r/issues/comments/7\n<!-- carousel regression guard -->\n"
        "### Carousel check: no result for abc; [the log](https://example.org/1) says why\n"
    )


def comment(folder: Path, pulls: str, comments: str) -> str | None:
    """Run the step that writes the comment, and return what it has written.

    The program `gh` is replaced by one that answers with documents of GitHub's API, filtered by Python's `json`.
    """
    (folder / "pulls.json").write_text(pulls)
    (folder / "comments.json").write_text(comments)
    double = shlex.quote(str(Path(__file__).with_name("github_double.py")))
    program(folder, "gh", f'exec {shlex.quote(sys.executable)} {double} "$@"')
    variables = {
        "REPOSITORY": "o/r",
        "OWNER": "o",
        "BRANCH": "b'ranch",
        "COMMIT": "abc",
        "RUN": "https://example.org/1",
    }
    ran = run_step(step("comment.yml", "Write the comment"), folder, **variables)
    assert ran.returncode == 0, ran.stderr
    written = folder / "written"
    return written.read_text() if written.exists() else None
