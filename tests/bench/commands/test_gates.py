"""`carousel gates` draws and lists cases, chooses layers, units and sequences, and says how to get traces."""

from __future__ import annotations

import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.commands.report import TRACED
from results import Store, load_traces
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import CLAIM, TINY, write_plan

__all__ = ["carousel", "inline"]

GATED = TINY.replace("width = 4", 'width = 4\nmeasure = ["accuracy", "gates"]')


@pytest.mark.slow
def test_gates_command_plots_one_case(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED + CLAIM)
    ended = carousel("run", "tiny.toml", "-q")
    assert ended.code == 0, ended.err
    assert "1 claim: 1 reproduced; 1 verdict not robust." in ended.out
    (run,) = Store(tmp_path / "carousel-runs").runs()
    records, _ = run.read()
    assert [claim.name for claim in run.file().claims] == ["learns"]
    ended = carousel("gates", "latest", "-o", "plots", "lstm.first_last.L4.s1")
    written = {Path(line).name for line in ended.out.split()}
    (case,) = (record.case for record in records.values() if record.key.startswith("lstm.first_last.L4.s1"))
    name = f"lstm-first-last-1-{case.digest()}"
    kinds = ("learning", "gates", "retention", "memory-trace", "gradient-trace")
    assert written == {f"{kind}-{name}.{suffix}" for kind in kinds for suffix in ("svg", "png")}
    for name in written:
        begin = (tmp_path / "plots" / name).read_bytes()[:5]
        assert begin == (b"\x89PNG\r" if name.endswith("png") else b"<svg ")
    other = carousel("gates", "latest", "-o", "plots", "lstm on first_last, seed 0").out.split()
    assert {path.name for path in (tmp_path / "plots").iterdir()} == written | {Path(path).name for path in other}
    assert not written & {Path(path).name for path in other}
    listed = carousel("gates", "latest", "--list").out.splitlines()
    assert len(listed) == 4
    drawn = "learning curve, gates of layer 1, hold gates, memory of the first input, gradients"
    assert f"{case.digest()}  lstm on first_last at 4, seed 1: {drawn}" in listed
    assert sum("rnn" in line and "output of layer 1" in line for line in listed) == 2
    page = (run.folder / "report.html").read_text()
    assert page.count('id="gates-lstm-first-last-0"') == 1
    assert all(load_traces(run, record) is not None for record in records.values())


@pytest.mark.slow
def test_example_for_an_ambiguous_case_works(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    refused = carousel("gates", "latest", "lstm", "--layer", "1", "--units", "1,3", "-o", "two plots")
    example = refused.err.split("`")[1]
    assert example.endswith(" --layer 1 --units 1,3 -o 'two plots'")
    drawn = carousel(*shlex.split(example)[1:])
    assert (refused.code, drawn.code) == (2, 0), drawn.err
    assert any("gates-layer-1-units-1-3-lstm" in line for line in drawn.out.splitlines())


UNUSABLE = {
    "first_last": "matches 4 cases; choose one by its digest",
    "nobody": "no case 'nobody' in this run",
    "-o tiny.toml": "cannot write into tiny.toml",
    "--layer 2": "no layer 2: the traces have layer 1",
    "--sequence 9": "no sequence 9: the traces have sequences 1 to 4",
    "--units 1,9": "no unit 9: the traces have units 1 to 4",
    "--units 4-2": "--units: '4-2' is no unit or range of units; give numbers from 1, such as 1-4,9",
    "--units one": "--units: 'one' is no unit",
    "--scale poster": "--scale",
}
"""A part of the message for each wrong argument."""


@pytest.mark.slow
def test_gates_command_reports_unusable_arguments_in_one_line(
    tmp_path: Path, carousel: Carousel, inline: Inline
) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    for words, message in UNUSABLE.items():
        ended = carousel("gates", "latest", *words.split())
        assert ended.code == 2, words
        assert message in ended.err and len(ended.err.splitlines()) == 1, words


@pytest.mark.slow
def test_gates_command_draws_the_chosen_view_for_a_slide(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    view = ("--layer", "1", "--units", "1-2,4", "--sequence", "2", "--scale", "slide")
    ended = carousel("gates", "latest", "lstm, seed 0", "-o", "plots", *view)
    assert ended.code == 0, ended.err
    (path,) = (
        Path(line)
        for line in ended.out.split()
        if "gates-layer-1-sequence-2-units-1-2-4-lstm" in line and "svg" in line
    )
    description = ElementTree.fromstring(path.read_bytes()).findtext("{http://www.w3.org/2000/svg}desc") or ""
    assert "Layer 1 on held-out sequence 2 of 4. Lines are units 1, 2 and 4." in description


def test_default_case_without_traces_says_what_to_run(carousel: Carousel, inline: Inline) -> None:
    carousel("run", "tiny.toml", "-q", "--measure", "accuracy")
    ended = carousel("gates")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert f"run `{TRACED}`" in ended.err and "`carousel gates RUN CASE`" in ended.err
    listed = carousel("gates", "--list").out.splitlines()
    assert len(listed) == 4 and all(line.endswith(": learning curve") for line in listed)


@pytest.mark.slow
def test_command_that_is_suggested_makes_traces(carousel: Carousel, inline: Inline) -> None:
    words = shlex.split(TRACED)[1:]
    assert carousel(*words, "--set", "steps=2", "--params", "500", "-q").code == 0
    ended = carousel("gates")
    assert ended.code == 0 and "gates-lstm-first-last-0-" in ended.out


def test_named_case_without_traces_has_a_learning_curve(carousel: Carousel, inline: Inline) -> None:
    carousel("run", "tiny.toml", "-q", "--measure", "accuracy")
    ended = carousel("gates", "latest", "lstm, seed 0", "-o", "plots")
    assert ended.code == 0 and TRACED in ended.err
    assert [Path(line).name.partition("-lstm")[0] for line in ended.out.split()] == ["learning", "learning"]
    ended = carousel("gates", "latest", "lstm, seed 0", "--layer", "1")
    assert ended.code == 2 and "has no traces" in ended.err and TRACED in ended.err


def test_corrupt_traces_are_reported_and_omitted(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    (run,) = Store(tmp_path / "carousel-runs").runs()
    for path in run.folder.glob("artifacts/lstm*/traces.safetensors"):
        path.write_bytes(b"half")
    ended = carousel("report", "latest")
    assert ended.code == 0
    assert "skipped" in ended.err
    assert 'id="gates-lstm' not in (run.folder / "report.html").read_text()
    listed = carousel("gates", "--list").out.splitlines()
    assert sum(line.endswith("unreadable traces") for line in listed) == 2
