"""Tests that code uses the wall clock only for dates and for the spans of jobs.

The wall clock may jump, so it is not suitable for durations.
"""

from __future__ import annotations

import ast
from pathlib import Path

HOME = Path(__file__).resolve().parents[3]
PACKAGES = ("arch", "tasks", "bench", "results", "reports")
WALL_CLOCK = {
    ("time", "time"),
    ("time", "time_ns"),
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("date", "today"),
}


def wall_clock_calls(source: str) -> set[str]:
    """Return the names of all wall-clock functions that a source text uses, such as `time.time`."""
    calls = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
            calls |= {f"{owner}.{node.attr}"} if (owner, node.attr) in WALL_CLOCK else set()
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            calls |= {f"time.{name.name}" for name in node.names if ("time", name.name) in WALL_CLOCK}
    return calls


def test_wall_clock_is_used_for_dates_and_once_for_spans() -> None:
    paths = [path for package in PACKAGES for path in (HOME / package).rglob("*.py")]
    calls_by_file = {
        path.relative_to(HOME).as_posix(): calls
        for path in paths
        if (calls := wall_clock_calls(path.read_text(encoding="utf-8")))
    }
    assert calls_by_file == {"bench/executors/base.py": {"time.time"}, "bench/runner/resume.py": {"datetime.now"}}


def test_every_form_of_use_is_found() -> None:
    assert wall_clock_calls("import time\ntime.time()") == {"time.time"}
    assert wall_clock_calls("from time import time_ns") == {"time.time_ns"}
    assert wall_clock_calls("import datetime\ndatetime.datetime.now()") == {"datetime.now"}
    assert wall_clock_calls("from datetime import date\ndate.today()") == {"date.today"}
    assert wall_clock_calls("import time\ntime.monotonic()") == set()
