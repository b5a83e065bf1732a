"""The example that guards a repository: its commands run as they are written, on the smallest plan."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bench._plan import cases, load
from tests.bench.tiny import write_plan

HOME = Path(__file__).resolve().parent.parent
EXAMPLE = HOME / "examples" / "regression-guard"
PATIENCE_SECONDS = 600.0


def commands_of_the_page() -> list[str]:
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    return [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]


def commands_of_the_workflow() -> list[str]:
    workflow = (EXAMPLE / "guard.yml").read_text(encoding="utf-8")
    return [line.strip() for line in workflow.splitlines() if line.strip().startswith("carousel ")]


def test_the_workflow_runs_the_commands_of_the_page() -> None:
    commands = commands_of_the_workflow()
    assert [command.split()[1] for command in commands] == ["run", "run", "merge", "verify", "check"]
    assert commands == commands_of_the_page()[: len(commands)]


def test_the_plan_is_one_that_can_be_run() -> None:
    plan = load(str(EXAMPLE / "guard.toml"))
    assert len(cases(plan)) == 6
    assert set(plan.measure) == {"accuracy", "latency", "streaming"}


def test_the_commands_of_the_page_run_and_an_unchanged_repository_passes(tmp_path: Path) -> None:
    """On the smallest plan and with two processes a side, which changes nothing but how long it takes."""
    write_plan(tmp_path).rename(tmp_path / "guard.toml")
    programs = tmp_path / "bin"
    programs.mkdir()
    shim = programs / "carousel"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bench "$@"\n')
    shim.chmod(0o755)
    paths = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(HOME), "TMPDIR": str(tmp_path)}
    for command in commands_of_the_page():
        ended = subprocess.run(
            ["bash", "-c", command.replace("--repeat 6", "--repeat 2")],
            cwd=tmp_path,
            env=os.environ | paths,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    tests = ElementTree.parse(tmp_path / "carousel.xml").getroot().iter("testcase")
    assert len(list(tests)) > 3
    assert (tmp_path / "carousel.md").read_text(encoding="utf-8").strip()
    timings = json.loads((tmp_path / "timings.json").read_text(encoding="utf-8"))
    assert {benchmark["params"]["arch"] for benchmark in timings["benchmarks"]} == {"rnn", "lstm"}
