"""The wall clock, which anybody may set, dates what is written; nothing waits or is measured by it."""

from __future__ import annotations

import ast
from pathlib import Path

HOME = Path(__file__).resolve().parents[3]
PACKAGES = ("arch", "tasks", "bench", "results", "reports")
OF_THE_WALL = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def readings(source: str) -> set[str]:
    """What of the wall clock a source text reads, however its module is spelled."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
            found |= {f"{owner}.{node.attr}"} if (owner, node.attr) in OF_THE_WALL else set()
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            found |= {f"time.{name.name}" for name in node.names if ("time", name.name) in OF_THE_WALL}
    return found


def test_the_wall_clock_is_read_for_dates_and_once_to_place_spans() -> None:
    paths = [path for room in PACKAGES for path in (HOME / room).rglob("*.py")]
    found = {
        path.relative_to(HOME).as_posix(): seen
        for path in paths
        if (seen := readings(path.read_text(encoding="utf-8")))
    }
    assert found == {"bench/executors/base.py": {"time.time"}, "bench/runner/resume.py": {"datetime.now"}}


def test_the_reader_sees_every_spelling() -> None:
    assert readings("import time\ntime.time()") == {"time.time"}
    assert readings("from time import time_ns") == {"time.time_ns"}
    assert readings("import datetime\ndatetime.datetime.now()") == {"datetime.now"}
    assert readings("from datetime import date\ndate.today()") == {"date.today"}
    assert readings("import time\ntime.monotonic()") == set()
