"""Declare `carousel doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli.options import JsonOption


def doctor(
    seconds: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long to repeat the calibration, in seconds; at most 600."),
    ] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Describe this machine and what limits its timings.

    The calibration, a fixed matrix product, is timed repeatedly; --seconds sets for how long. The output includes
    the spread and drift of these timings.
    """
    from bench.commands.doctor import diagnose

    diagnose(seconds, as_json=as_json)
