"""`carousel compare` and `carousel check` on stored runs: exit codes, files and formats."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas
import pytest

from reports.export.comparison import comparison_as_markdown
from results import Block, Case, Record, ReferenceScores, RunFile, Store
from results.comparison.compare import compare
from tests.bench.carousel import Carousel, carousel
from tests.results.planted import case_of, grid, run_of

__all__ = ["carousel"]
CASES = grid(tasks=1, seeds=2)
HOSTILE = "x|<script>alert(1)</script>`*</details>\x1b&"


def stored(run: tuple[RunFile, list[Record]]) -> str:
    file, records = run
    run_folder = Store(Path("carousel-runs")).create(file)
    for record in records:
        run_folder.write(record)
    return file.id


def slow_lstm(case: Case, metric: str) -> float:
    return math.log(1.3) if case.arch == "lstm" and metric == "step_seconds" else 0.0


@pytest.fixture
def base(carousel: Carousel) -> str:
    return stored(run_of(CASES, 1, noise=0.02))


def test_unchanged_pair_passes(carousel: Carousel, base: str) -> None:
    stored(run_of(CASES, 2, noise=0.02))
    ended = carousel("check", base)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("passed: 0 regressed, 0 improved, 0 inconclusive")


def test_command_for_omitted_rows_prints_them(carousel: Carousel, base: str) -> None:
    stored(run_of(CASES, 2, noise=0.02))
    command = re.search(r"`carousel (.+)`", " ".join(carousel("check", base).out.split()))
    assert command is not None
    ended = carousel(*command[1].split())
    assert ended.code == 0
    assert len(list(csv.DictReader(io.StringIO(ended.out)))) > 1


def test_regression_exits_with_1_and_comes_first_in_every_output(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02, slower=slow_lstm))
    ended = carousel("check", base, new, "--junit", "junit.xml", "--summary", "summary.md")
    assert ended.code == 1
    assert ended.out.startswith("failed: 2 regressed")
    suite = ElementTree.parse("junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "2"
    failed = [case.get("name") or "" for case in suite if case.find("failure") is not None]
    assert all("lstm" in name and "step_seconds" in name for name in failed)
    summary = Path("summary.md").read_text(encoding="utf-8")
    assert summary.splitlines()[0] == "### Carousel check: failed"
    assert summary.index("regressed |") < summary.index("<details>")
    document = json.loads(carousel("check", base, new, "--json").out)
    assert (document["passed"], document["exit_code"], len(document["failing"])) == (False, 1, 2)
    assert carousel("compare", base, new).code == 0


def test_fail_on_selects_metrics_and_thresholds(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02, slower=slow_lstm))
    assert carousel("check", base, new, "--fail-on", "accuracy:-0.02,latency:10%").code == 0
    assert carousel("check", base, new, "--fail-on", "streaming:100%").code == 0
    assert carousel("check", base, new, "--fail-on", "streaming:10%").code == 1


@pytest.mark.parametrize("wrong", ["speed:10%", "accuracy:2%", "streaming:0.1", "streaming:-10%", "streaming:x%", ""])
def test_invalid_fail_on_is_reported_in_one_line(carousel: Carousel, base: str, wrong: str) -> None:
    ended = carousel("check", base, base, "--fail-on", wrong)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "--fail-on" in ended.err


def test_too_few_processes_are_inconclusive_and_fail_if_strict(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, processes=1))
    ended = carousel("check", base, new)
    assert ended.code == 0
    assert "10 inconclusive (to decide: 3 more --repeat)" in ended.out.splitlines()[0]
    assert carousel("check", base, new, "--strict").code == 1


def test_missing_case_exits_with_3_unless_another_regressed(carousel: Carousel, base: str) -> None:
    file, records = run_of(CASES, 2, noise=0.02)
    ended = carousel("check", base, stored((file, records[1:])))
    assert ended.code == 3
    assert "1 missing" in ended.out.splitlines()[0]
    file, records = run_of(CASES, 3, noise=0.02, slower=slow_lstm)
    assert carousel("check", base, stored((file, records[1:]))).code == 1


def test_different_machine_exits_with_4_unless_allowed(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02, cpu="another"))
    ended = carousel("check", base, new)
    assert ended.code == 4
    assert "timings not comparable: cpu: a processor → another" in ended.out
    assert carousel("compare", base, new).code == 0
    assert carousel("check", base, new, "--fail-on", "streaming").code == 4
    allowed = carousel("check", base, new, "--allow", "cpu")
    assert allowed.code == 0
    assert "allowed to differ: cpu: a processor → another" in allowed.out
    wrong = carousel("check", base, new, "--allow", "cpu-modle")
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "unknown field 'cpu-modle'; choose from host, cpu" in wrong.err


def test_scores_of_another_machine_are_checked_by_fail_on(carousel: Carousel) -> None:
    cases = grid(tasks=1, seeds=6)
    base = stored(run_of(cases, 1))
    new = stored(run_of(cases, 2, host="another"))
    worse = stored(run_of(cases, 3, host="another", scored=lambda case, _: 0.5 + 0.01 * case.seed))
    unchanged = carousel("check", base, new, "--fail-on", "accuracy", "--strict", "--junit", "junit.xml")
    assert unchanged.code == 0
    suite = ElementTree.parse("junit.xml").getroot().find("testsuite")
    assert suite is not None and (suite.get("errors"), suite.get("failures")) == ("0", "0")
    assert carousel("check", base, worse, "--fail-on", "accuracy").code == 1


def sized(run: tuple[RunFile, list[Record]], **sizes: int | None) -> tuple[RunFile, list[Record]]:
    """Return a run whose models have other sizes."""
    file, records = run
    return file, [
        record.model_copy(update={"model": record.model and record.model.model_copy(update=sizes)})
        for record in records
    ]


def test_state_and_flops_of_the_models_are_compared(carousel: Carousel) -> None:
    base = stored(sized(run_of(CASES, 1, noise=0.02), state_bytes=512, step_flops=40_000))
    new = stored(sized(run_of(CASES, 2, noise=0.02), state_bytes=512, step_flops=44_000))
    rows = json.loads(carousel("compare", base, new, "--format", "json").out)["rows"]
    found = {
        row["metric"]: (row["base"], row["new"], row["verdict"]) for row in rows if row["metric"].startswith("model_")
    }
    assert found == {
        "model_state_bytes": (512, 512, "unchanged"),
        "model_step_flops": (40_000, 44_000, "regressed"),
    }
    text = carousel("compare", base, new).out
    assert re.search(r"lstm on task0 32: FLOPs per step at the length +40,000 +44,000 +\+10\.0%", text)
    assert carousel("check", base, new, "--fail-on", "flops").code == 1
    assert carousel("check", base, new, "--fail-on", "state").code == 0


def test_sizes_that_an_older_run_did_not_record_are_not_missing(carousel: Carousel, base: str) -> None:
    new = stored(sized(run_of(CASES, 2, noise=0.02), state_bytes=512, step_flops=40_000))
    ended = carousel("check", base, new)
    assert ended.code == 0
    assert "measured only in the new run: model_state_bytes, model_step_flops" in ended.out


def test_renamed_cases_are_joined(carousel: Carousel, base: str) -> None:
    cases = [case.model_copy(update={"arch": case.arch.replace("lstm", "memory:cells=lstm")}) for case in CASES]
    new = stored(run_of(cases, 2, noise=0.02))
    assert carousel("check", base, new).code == 3
    ended = carousel("check", base, new, "--rename", "lstm=memory:cells=lstm")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("passed: 0 regressed, 0 improved, 0 inconclusive, 20 unchanged of 20 comparisons")
    rows = json.loads(carousel("compare", base, new, "--rename", "lstm=memory:cells=lstm", "--format", "json").out)[
        "rows"
    ]
    assert {row["arch"] for row in rows} == {"rnn", "memory:cells=lstm"}


def test_a_renaming_in_the_plan_of_the_new_run_joins_cases(carousel: Carousel, base: str) -> None:
    cases = [case.model_copy(update={"arch": case.arch.replace("lstm", "memory")}) for case in CASES]
    file, records = run_of(cases, 2, noise=0.02)
    new = stored((file.model_copy(update={"renamed": {"lstm": "memory"}}), records))
    assert carousel("check", base, new).code == 0
    assert carousel("report", base, new, "-o", "page.html").code == 0
    assert "in the baseline" not in Path("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["lstm"], "--rename takes OLD=NEW"),
        (["=lstm"], "--rename takes OLD=NEW"),
        (["lstm="], "--rename takes OLD=NEW"),
        (["lstm:forget=gru"], "--rename takes OLD=NEW"),
        (["lstm=a", "lstm=b"], "gives 'lstm' two new names"),
        (["lstm=a", "a=lstm"], "lstm → a → lstm is a circle of new names"),
        (["lstm=rnn"], "has both rnn and lstm, which would become one"),
        (
            ["lstn=memory"],
            "cannot rename 'lstn': no case has this name; did you mean 'lstm'?",
        ),
        (["lstm=memory", "nosuch=foo"], "cannot rename 'nosuch': no case has this name; available: lstm, rnn, task0"),
    ],
)
def test_an_invalid_renaming_is_one_line(carousel: Carousel, base: str, texts: list[str], expected: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02))
    words = [word for text in texts for word in ("--rename", text)]
    for command in (["check", base, new], ["compare", base, new], ["history"]):
        ended = carousel(*command, *words)
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert expected in ended.err


def test_no_common_case_exits_with_5_in_compare_and_3_in_check(carousel: Carousel, base: str) -> None:
    new = stored(run_of([case_of("gru")], 2))
    assert carousel("compare", base, new).code == 5
    assert carousel("check", base, new).code == 3


def test_every_format_shows_the_change_and_escapes_hostile_names(carousel: Carousel) -> None:
    cases = [case_of(f"={HOSTILE}"), case_of("lstm")]
    base = stored(run_of(cases, 1, noise=0.02))
    new = stored(run_of(cases, 2, noise=0.02, slower=lambda case, metric: 0.5 if metric == "step_seconds" else 0.0))
    shown = {name: carousel("compare", base, new, "--format", name) for name in ("markdown", "csv", "latex", "json")}
    assert all((ended.code, ended.err) == (0, "") for ended in shown.values())
    assert "<script" not in shown["markdown"].out
    assert shown["markdown"].out.count("</details>") == shown["markdown"].out.count("<details>")
    rows = list(csv.DictReader(io.StringIO(shown["csv"].out)))
    assert {row["arch"][:2] for row in rows} == {"'=", "ls"}
    assert {row["verdict"] for row in rows if row["metric"] == "step_seconds"} == {"regressed"}
    assert r"\begin{longtable}" in shown["latex"].out
    assert json.loads(shown["json"].out)["counts"]["regressed"] == 4
    assert "\x1b" not in carousel("compare", base, new).out
    carousel("check", base, new, "--junit", "junit.xml", "--summary", "summary.md")
    assert ElementTree.parse("junit.xml").getroot().tag == "testsuites"
    assert "<script" not in Path("summary.md").read_text(encoding="utf-8")


def test_csv_keeps_a_name_that_looks_like_a_number(carousel: Carousel) -> None:
    cases = [case_of("12e4567")]
    base, new = stored(run_of(cases, 1, noise=0.02)), stored(run_of(cases, 2, noise=0.02))
    table = pandas.read_csv(io.StringIO(carousel("compare", base, new, "--format", "csv").out))
    assert set(table["arch"]) == {"'12e4567"}


def test_run_is_found_by_path(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02))
    Path("carousel-runs").rename("elsewhere")
    assert carousel("check", f"elsewhere/{base}", f"elsewhere/{new}").code == 0


def test_unwritable_files_are_reported_with_their_option(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02))
    Path("file").write_text("")
    for option in ("--junit", "--summary"):
        ended = carousel("check", base, new, option, "file/below")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert "cannot write file/below" in ended.err and f"choose another file with {option}" in ended.err


def test_link_is_written_through(carousel: Carousel, base: str) -> None:
    Path("target.md").write_text("old")
    Path("summary.md").symlink_to("target.md")
    new = stored(run_of(CASES, 2, noise=0.02))
    assert carousel("check", base, new, "--summary", "summary.md").code == 0
    assert Path("summary.md").is_symlink()
    assert Path("target.md").read_text(encoding="utf-8").startswith("### Carousel check: passed")


def test_shortened_summary_counts_the_omitted_rows() -> None:
    cases = grid(tasks=4, seeds=2)
    found = compare(run_of(cases, 1, noise=0.02), run_of(cases, 2, noise=0.02, slower=slow_lstm))
    whole, cut = comparison_as_markdown(found), comparison_as_markdown(found, longest=2_000)
    assert len(cut) < 2_500 < len(whole)
    assert "more" not in whole
    rows = [line for line in cut.splitlines() if line.startswith("| ") and ":--" not in line and "| case" not in line]
    left_out = [int(number) for number in re.findall(r"and ([0-9,]+) more", cut)]
    shown = [row for row in rows if not row.startswith("| and ")]
    assert len(shown) + sum(left_out) == len(found.rows)
    assert cut.splitlines()[0] == whole.splitlines()[0]
    assert set(shown) <= set(whole.splitlines())


def worse_score(case: Case, _: object) -> float:
    return (0.5 if case.arch == "lstm" else 0.9) + 0.01 * case.seed


def test_what_fail_on_leaves_out_is_named(carousel: Carousel) -> None:
    cases = grid(tasks=1, seeds=6)
    base = stored(run_of(cases, 1, noise=0.02, scored=lambda case, _: 0.9 + 0.01 * case.seed))
    new = stored(run_of(cases, 2, noise=0.02, scored=worse_score))
    ended = carousel("check", base, new, "--fail-on", "streaming:10%", "--summary", "summary.md")
    assert ended.code == 0
    first, *others = ended.out.splitlines()
    assert first.startswith("passed: 0 regressed") and first.endswith("4 unchanged of 4 comparisons")
    assert others[0].startswith("not judged: lstm on task0 32: accuracy at length 32, -0.400 (")
    assert others[0].endswith("), regressed")
    unjudged = [line for line in others if line.startswith("not judged")]
    assert unjudged[-1].startswith("not judged: ") and unjudged[-1].endswith("none regressed")
    summary = Path("summary.md").read_text(encoding="utf-8").replace("\\", "")
    assert all(f"- {line}" in summary for line in unjudged)
    document = json.loads(carousel("check", base, new, "--fail-on", "streaming:10%", "--json").out)
    assert document["failing"] == []
    assert set(document["regressed_but_not_judged"]) == {
        f"lstm on task0 32: accuracy at length {length}" for length in (32, 64, 128)
    }


def test_reasons_and_tables_agree_with_the_headline(carousel: Carousel) -> None:
    cases = grid(tasks=1, seeds=2)
    base, new = (stored(run_of(cases, draw, processes=1, noise=0.02)) for draw in (1, 2))
    options = ("--fail-on", "streaming:10%", "--summary", "summary.md")
    ended = carousel("check", base, new, *options)
    inconclusive = re.match(r"passed: .* (\d+) inconclusive", ended.out)
    assert inconclusive is not None
    reasons = [line for line in ended.out.splitlines() if " inconclusive, " in line and line.startswith("—")]
    assert sum(int(line.split()[1]) for line in reasons) == int(inconclusive[1]) > 0
    judged, _, unjudged = ended.out.partition("inconclusive, not judged")
    assert ": step" in judged and ": step" not in unjudged
    assert "forward, batch" in unjudged and "forward, batch" not in judged
    summary = Path("summary.md").read_text(encoding="utf-8").replace("\\", "")
    rows = [line for line in summary.splitlines() if line.startswith("| ") and "inconclusive (" in line]
    marked = ["not judged: inconclusive" in line for line in rows]
    assert marked == sorted(marked) and marked.count(False) == int(inconclusive[1])
    assert f"<summary>{len(rows)} inconclusive, {marked.count(True)} of them not judged</summary>" in summary


def test_a_reason_shared_by_metrics_of_all_kinds_is_one_line(carousel: Carousel, base: str) -> None:
    longer = [case.model_copy(update={"protocol": case.protocol.model_copy(update={"steps": 60})}) for case in CASES]
    new = stored(run_of(longer, 2, noise=0.02))
    ended = carousel("check", base, new)
    counted = re.search(r"(\d+) not comparable", ended.out)
    reasons = [line for line in ended.out.splitlines() if "not comparable, protocol steps" in line]
    assert counted is not None
    assert reasons == [f"— {counted[1]} rows not comparable, protocol steps: {CASES[0].protocol.steps} → 60"]


def test_a_check_of_all_metrics_leaves_nothing_unjudged(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02, slower=slow_lstm))
    assert "not judged" not in carousel("check", base, new).out


def test_the_headline_is_printed_once(carousel: Carousel, base: str) -> None:
    new = stored(run_of(CASES, 2, noise=0.02))
    assert sum("0 regressed" in line for line in carousel("check", base, new).out.splitlines()) == 1


def test_reasons_are_grouped_with_their_ranges(carousel: Carousel, base: str) -> None:
    file, records = run_of(CASES, 2, processes=1)
    loaded = [
        record.model_copy(
            update={
                "measurements": tuple(
                    each.model_copy(update={"blocks": (Block(calibration_seconds=0.005, load=0.5),)})
                    if each.metric == "forward_seconds" and each.blocks
                    else each
                    for each in record.measurements
                )
            }
        )
        for record in records
    ]
    new = stored((file, loaded))
    lines = [line for line in carousel("check", base, new).out.splitlines() if "inconclusive, " in line]
    assert lines == [
        "— 6 rows inconclusive, too few: 6 against 1 processes; need 3 more --repeat",
        "— 4 rows inconclusive, noisy: 100% of blocks were disturbed; repeat on a quiet machine",
    ]


def test_scores_of_the_base_at_their_floor_are_named(carousel: Carousel) -> None:
    def scored(case: Case, _: object) -> float:
        return 0.51 if case.arch == "rnn" else 0.95

    def with_references(run: tuple[RunFile, list[Record]]) -> tuple[RunFile, list[Record]]:
        scores = tuple(ReferenceScores(length=length, chance=0.25, memoryless_score=0.5) for length in (32, 64, 128))
        return run[0], [record.model_copy(update={"reference_scores": scores}) for record in run[1]]

    base, new = (stored(with_references(run_of(CASES, draw, noise=0.02, scored=scored))) for draw in (1, 2))
    warning = "at the floor in the base, so no loss of score can show: rnn on task0 at 32 (0.510, without memory 0.500)"
    ended = carousel("check", base, new, "--summary", "summary.md")
    assert ended.code == 0
    assert f"— {warning}\n" in ended.out
    assert warning in Path("summary.md").read_text(encoding="utf-8").replace("\\", "")
    (found,) = json.loads(carousel("check", base, new, "--json").out)["at_floor"]
    assert found == {"arch": "rnn", "task": "task0", "length": 32, "score": pytest.approx(0.51), "floor": 0.5}
