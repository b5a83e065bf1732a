"""Read amounts of memory, durations, widths and limits from options."""

from __future__ import annotations

import re
from dataclasses import dataclass

import reports
from bench.errors import UsageError
from bench.plans.amounts import parse_bytes

MAX_BYTES = 1 << 60
"""The largest amount of memory. It exceeds the memory of any machine."""

NANOSECONDS = {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds per unit of a duration. Unicode has two letters for micro."""
DURATION = re.compile(rf"([0-9]{{1,15}}(?:\.[0-9]{{1,15}})?)\s*({'|'.join(NANOSECONDS)})", re.ASCII)
"""A number and a unit of `NANOSECONDS`."""

TIME_LIMIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)\s*(s|min|h)", re.ASCII)
"""A number and a unit of `SECONDS`."""
SECONDS = {"s": 1, "min": 60, "h": 3600}
"""Seconds per unit of a time limit."""

INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
"""Inches per unit of a width. A point is that of TeX."""
WIDTH = re.compile(rf"([0-9]{{1,6}}(?:\.[0-9]{{1,6}})?)\s*({'|'.join(INCHES)})", re.ASCII)
"""A number and a unit of `INCHES`."""

OPTIONS: dict[reports.Quantity, str] = {
    "state_bytes": "--max-state",
    "step_seconds": "--max-step",
    "parameters": "--max-params",
}
"""The option that limits each quantity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """The options that limit what an architecture may cost, as the user gave them. None is no limit."""

    max_state: str | None = None
    """A size, such as `20KiB`."""
    max_step: str | None = None
    """A duration, such as `5us`."""
    max_params: int | None = None

    def needs(self) -> reports.Needs:
        """Return the limits as numbers. Raises `UsageError` if a limit is invalid or not positive."""
        state = None if self.max_state is None else parse_size("--max-state", self.max_state, "20KiB or 640B")
        if state == 0:
            raise UsageError(f"--max-state must be at least 1 byte, not {self.max_state!r}")
        if self.max_params is not None and self.max_params < 1:
            raise UsageError(f"--max-params must be at least 1, not {self.max_params}")
        step = None if self.max_step is None else parse_duration("--max-step", self.max_step)
        return reports.Needs(state_bytes=state, step_seconds=step, parameters=self.max_params)

    def as_given(self) -> dict[reports.Quantity, str]:
        """Return the options on the command line, such as `--max-step 5us`, by the quantity that they limit."""
        given: dict[reports.Quantity, str | int | None] = {
            "state_bytes": self.max_state,
            "step_seconds": self.max_step,
            "parameters": self.max_params,
        }
        return {quantity: f"{OPTIONS[quantity]} {value}" for quantity, value in given.items() if value is not None}


NO_LIMITS = LimitOptions()


def parse_size(option: str, text: str, examples: str = "4GiB or 500MB") -> int:
    """Return the number of bytes in an amount such as `4GiB`, `500 MB` or `1073741824`.

    Args:
        option: The option that gives the amount, for the error message.
        text: The amount.
        examples: Valid amounts, for the error message.

    Raises `UsageError` if the amount is invalid, negative or above `MAX_BYTES`.
    """
    size = parse_bytes(text)
    if size is None or size > MAX_BYTES:
        raise UsageError(f"{option} takes an amount such as {examples}, at most 1EiB, not {text!r}")
    return size


def parse_duration(option: str, text: str) -> float:
    """Return the seconds in a duration such as `50us`, `1.5 ms` or `200ns`, which has at most 15 digits.

    `option` is the option that gives the duration, for the error message. Raises `UsageError` if the duration is
    invalid, below 1 ns or above an hour.
    """
    found = DURATION.fullmatch(text.strip())
    nanoseconds = float(found[1]) * NANOSECONDS[found[2]] if found is not None else 0.0
    if not 1 <= nanoseconds <= 3600 * NANOSECONDS["s"]:
        raise UsageError(f"{option} takes a duration such as 50us, from 1ns to 3600s, not {text!r}")
    return nanoseconds / NANOSECONDS["s"]


def parse_width(option: str, text: str) -> float:
    """Return the inches in a width such as `3.25in`, `8.25cm`, `82 mm` or `234pt`.

    `option` is the option that gives it, for the error message. Raises `UsageError` if the width is invalid, or beyond
    the widths in which figures are legible.
    """
    found = WIDTH.fullmatch(text.strip())
    inches = float(found[1]) * INCHES[found[2]] if found is not None else 0.0
    if not reports.MIN_WIDTH_INCHES <= inches <= reports.MAX_WIDTH_INCHES:
        raise UsageError(
            f"{option} takes a width such as 3.25in, 8.25cm, 82mm or 234pt, from {reports.MIN_WIDTH_INCHES:g} to "
            f"{reports.MAX_WIDTH_INCHES:g} inches, not {text!r}"
        )
    return inches


def parse_time_limit(option: str, text: str) -> float:
    """Return the seconds in a time limit such as `90s`, `10min` or `1.5h`.

    `option` is the option that gives it, for the error message. Raises `UsageError` if it is invalid or 0.
    """
    found = TIME_LIMIT.fullmatch(text.strip())
    seconds = float(found[1]) * SECONDS[found[2]] if found is not None else 0.0
    if not seconds > 0:
        raise UsageError(f"{option} takes a duration such as 90s, 10min or 1h, not {text!r}")
    return seconds
