"""Declare `carousel doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import JsonOption


def doctor(
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="Duration of the calibration, at most 600.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Describe this machine and what limits its timings.

    Times a calibration loop for a few seconds and reports the spread and drift of the timings.
    """
    from bench.commands.doctor import diagnose

    diagnose(seconds, as_json=as_json)
