"""Declare `carousel doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import JsonOption
from bench.errors import UsageError


def doctor(
    seconds: Annotated[float, typer.Option(help="How long to take the machine's pulse.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """What this machine is, and what limits trust in timings here."""
    from bench.commands.doctor import examine

    if not 0 < seconds <= 600:
        raise UsageError(f"--seconds must be more than 0 and at most 600, not {seconds:g}")
    examine(as_json=as_json, seconds=seconds)
