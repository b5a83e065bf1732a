"""Files of pytest-benchmark with planted changes, made from a file that pytest-benchmark wrote."""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

FIXTURE = Path(__file__).parent.parent / "fixtures" / "pytest-benchmark" / "5.3.1.json"
SORT, SHORT, LONG = "test_b.py::test_sort", "test_b.py::test_sum[100]", "test_b.py::test_sum[1000]"
START = datetime(2026, 1, 1, tzinfo=UTC)


@functools.cache
def _fixture() -> Any:
    return json.loads(FIXTURE.read_text(encoding="utf-8"))


def document(
    draw: int,
    *,
    minute: float | None = None,
    slower: Mapping[str, float] | None = None,
    noise: float = 0.03,
    rounds: int = 20,
    **machine: object,
) -> dict[str, Any]:
    """Return the content of a file as one process would write it.

    Args:
        draw: Seed of the noise of the process.
        minute: When the process ended, in minutes; `draw` if None.
        slower: Logarithms of the ratios by which benchmarks are slower.
        noise: Standard deviation of the logarithm of a timing over processes.
        rounds: Number of rounds of each benchmark.
        **machine: Fields of `machine_info` that differ.
    """
    generator = np.random.default_rng(draw)
    content: dict[str, Any] = copy.deepcopy(_fixture())
    content["datetime"] = (START + timedelta(minutes=draw if minute is None else minute)).isoformat()
    content["machine_info"] |= machine
    for each in content["benchmarks"]:
        shift = noise * generator.standard_normal() + (slower or {}).get(each["fullname"], 0.0)
        each["stats"]["data"] = (1e-5 * math.exp(shift) * (1 + 0.01 * generator.random(rounds))).tolist()
    return content


def write(folder: Path, name: str, documents: Sequence[dict[str, Any]]) -> str:
    """Write documents as `NAME-0.json`, `NAME-1.json` and so on, and return the pattern that matches them."""
    folder.mkdir(exist_ok=True)
    for index, content in enumerate(documents):
        (folder / f"{name}-{index}.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / f"{name}-*.json")
