"""The option `--set` reads values as TOML files and as reports write them."""

from __future__ import annotations

from typing import Any

import pytest

from bench.plans.protocol import resolved_protocol
from bench.plans.protocol_settings import parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("evaluate_at=1x,2x", ["1x", "2x"]),
        ("evaluate_at = 1x, 64 ,40..256", ["1x", 64, "40..256"]),
        ("evaluate_at=[1x,2x]", ["1x", "2x"]),
        ('evaluate_at=["1x", 64,]', ["1x", 64]),
        ("evaluate_at=2x", ["2x"]),
        ("evaluate_at=64", [64]),
        ("evaluate_at=[]", []),
        ("evaluate_at=1x,", ["1x", ""]),
        ("keep_best=True", True),
        ("keep_best=false", False),
        ("learning_rate=3e-3", 3e-3),
        ("schedule=cosine", "cosine"),
        ("schedule=cosine,constant", "cosine,constant"),
    ],
)
def test_values_are_read_as_in_toml_and_as_reports_write_them(text: str, value: Any) -> None:
    (read,) = parse_settings([text]).values()
    assert (read, type(read)) == (value, type(value))


def test_a_list_that_a_report_writes_gives_the_same_protocol() -> None:
    protocol = resolved_protocol(parse_settings(["steps=3", "evaluate_at=1x,64", "keep_best=True"]), length=64)
    assert (protocol.steps, protocol.evaluate_at, protocol.keep_best) == (3, ("1x", 64), True)
