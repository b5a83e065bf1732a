"""The regression guard in `examples/`: its commands run on the smallest plan."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bench.plans.grid import cases
from bench.plans.plan import load
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import write_plan

__all__ = ["carousel", "inline"]

HOME = Path(__file__).resolve().parent.parent
EXAMPLE = HOME / "examples" / "regression-guard"
PRINT_WORDS = 'carousel() { printf "%s\\0" "$@"; }\n'
"""A shell function named `carousel` that prints its arguments, each followed by a null character."""


def commands_of_readme() -> list[str]:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]


def commands_of_workflow() -> list[str]:
    workflow = (EXAMPLE / "guard.yml").read_text(encoding="utf-8")
    return [line.strip() for line in workflow.splitlines() if line.strip().startswith("carousel ")]


def split_by_shell(command: str, folder: Path) -> list[str]:
    """Return the arguments of a command, as a shell in `folder` splits and expands them."""
    printed = subprocess.run(
        ["bash", "-euc", PRINT_WORDS + command], cwd=folder, capture_output=True, text=True, check=True
    )
    return printed.stdout.split("\0")[:-1]


def test_workflow_runs_the_commands_of_the_readme() -> None:
    commands = commands_of_workflow()
    assert [command.split()[1] for command in commands] == ["run", "run", "merge", "verify", "check"]
    assert commands == commands_of_readme()[: len(commands)]


def test_plan_is_valid() -> None:
    plan = load(str(EXAMPLE / "guard.toml"))
    assert len(cases(plan)) == 6
    assert set(plan.measure) == {"accuracy", "latency", "streaming"}


def test_commands_of_the_readme_run_and_an_unchanged_repository_passes(
    carousel: Carousel, inline: Inline, tmp_path: Path
) -> None:
    """Check the exit code of each command of the README, and the files that the commands write.

    For speed, the test uses the smallest plan, two repetitions, and an executor without processes.
    """
    write_plan(tmp_path).rename(tmp_path / "guard.toml")
    for command in commands_of_readme():
        assert command.startswith("carousel ")
        ended = carousel(*split_by_shell(command.replace("--repeat 6", "--repeat 2"), tmp_path))
        assert ended.code == 0, f"{command}: {ended.out}{ended.err}"
    base, new = Store(tmp_path / "runs").runs()
    assert base.file().repeat == new.file().repeat == 2
    tests = ElementTree.parse(tmp_path / "carousel.xml").getroot().iter("testcase")
    assert len(list(tests)) > 3
    assert f"base {base.id}, new {new.id}" in (tmp_path / "carousel.md").read_text(encoding="utf-8").replace("\\", "")
    timings = json.loads((tmp_path / "timings.json").read_text(encoding="utf-8"))
    assert {benchmark["params"]["arch"] for benchmark in timings["benchmarks"]} == {"rnn", "lstm"}
