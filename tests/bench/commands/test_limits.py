"""`--max-state`, `--max-step` and `--max-params`: the answer on the terminal and on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands.quantities import LimitOptions, parse_size
from bench.errors import UsageError
from results import Record, Store
from tests.bench.carousel import Carousel, carousel
from tests.reports import planted, synthetic

__all__ = ["carousel"]

LIMITS = ("--max-state", "20KiB", "--max-step", "5us", "--max-params", "20000")


@pytest.fixture
def stored(tmp_path: Path, carousel: Carousel) -> Path:
    records: list[Record] = [
        *planted.records("transformer", 0.95, state=2 << 20, microseconds=159),
        *planted.records("gru", 0.8, state=640, microseconds=2.4),
        *planted.records("lstm", 0.6, state=1280, microseconds=2.3, parameters=20_123),
    ]
    run = Store(tmp_path / "carousel-runs").create(synthetic.run([record.case for record in records]))
    for record in records:
        run.write(record)
    return run.folder


def test_report_answers_to_limits_on_the_terminal_and_on_the_page(stored: Path, carousel: Carousel) -> None:
    ended = carousel("report", *LIMITS, "-o", "page.html")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "Within the limits: gru.",
        "Choose gru (78% memory share, 640 B of state, 2.40 µs per step).",
        "--max-state 20KiB excludes transformer (2.0 MiB at position 8,192).",
        "--max-step 5us excludes transformer (159 µs at position 8,192).",
        "--max-params 20000 excludes lstm (20,123).",
        "page.html",
    ]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<p>A limit of 5 µs per step excludes transformer (159 µs at position 8,192).</p>" in page
    plain = carousel("report", "-o", "plain.html")
    assert plain.out == "plain.html\n"
    assert "<p>A limit of" not in Path("plain.html").read_text(encoding="utf-8")


def test_answer_moves_to_standard_error_if_the_page_is_printed(stored: Path, carousel: Carousel) -> None:
    ended = carousel("report", "--max-step", "1us", "-o", "-")
    assert ended.out.rstrip().endswith("</html>")
    assert ended.err.splitlines()[:2] == [
        "Within the limits: none.",
        "Raise one limit: --max-step to 2.30us (2.30 times), which leaves lstm.",
    ]


def test_relaxed_limit_can_be_given_as_it_is_printed(stored: Path, carousel: Carousel) -> None:
    assert "Within the limits: lstm." in carousel("report", "--max-step", "2.30us").out


def test_show_answers_to_limits_instead_of_recommending(stored: Path, carousel: Carousel) -> None:
    plain, limited = carousel("show"), carousel("show", *LIMITS)
    assert "For streaming, choose by what matters most: transformer" in plain.out
    assert "For streaming" not in limited.out
    assert "--max-step 5us excludes transformer (159 µs at position 8,192)." in limited.out
    assert limited.err == ""


def test_limits_become_numbers() -> None:
    needs = LimitOptions(max_state="1.5 KiB", max_step="5us", max_params=20_000).needs()
    assert needs.limits() == {"state_bytes": 1536, "step_seconds": 5e-6, "parameters": 20_000}
    assert LimitOptions().needs().limits() == {}
    assert LimitOptions().as_given() == {}


def test_size_of_an_option_is_refused_in_its_name() -> None:
    with pytest.raises(UsageError, match="--max-state takes an amount such as 20KiB, at most 1EiB, not '-1'"):
        parse_size("--max-state", "-1", "20KiB")
