"""The option `--set` of `carousel run`, which sets fields of the training protocol."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from typing import Any, get_origin

from bench.errors import UsageError
from bench.plans.invalid_field import UNTRAINED_ADVICE
from results import Protocol

OWN_OPTIONS = {"archs": "--arch", "arch": "--arch", "tasks": "--task", "task": "--task", "probes": "--measure"} | {
    name: f"--{name.replace('_', '-')}"
    for name in (
        *("lengths", "seeds", "params", "params_of", "width", "state", "step_flops", "learning_rates", "tuning_seeds"),
        *("measure", "device", "workers", "repeat", "deadline", "timeout", "memory"),
    )
}
"""The options for what a user may take for a field of the protocol."""


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a protocol that `--set` gives, such as `steps=2000` or `evaluate_at=1x,64`.

    A value is read as in a TOML file. What is no TOML value is text. Values may also be written as reports write them:
    `True` is `true`, and `1x,64` is `["1x", 64]`. Raises `UsageError` if a field is unknown, has no value or is given
    twice.
    """
    found: dict[str, Any] = {}
    for text in settings:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not value:
            raise UsageError(f"--set takes FIELD=VALUE, such as learning_rate=3e-3, not {text!r}")
        if name not in Protocol.model_fields:
            raise UsageError(f"--set {text}: the protocol has no field {name!r}; {_hint(name)}")
        if name in found:
            raise UsageError(f"--set {name} is given twice; give it once")
        takes_list = get_origin(Protocol.model_fields[name].annotation) is tuple
        found[name] = _read_list(value) if takes_list else _read(value)
    return found


def _read_list(text: str) -> list[Any]:
    """Return the values of a list in TOML, or of one without quotation marks or brackets, such as `1x,64`."""
    value = _read(text)
    if isinstance(value, list):
        return value
    return [_read(part.strip()) for part in text.removeprefix("[").removesuffix("]").split(",")]


def _read(text: str) -> Any:
    """Return the value of a text in TOML, or the text itself if it is none. `True` and `False` are truth values."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _hint(name: str) -> str:
    """Return what to give in place of a field that the protocol does not have."""
    field = name.replace("-", "_")
    if field in ("protocol", "untrained"):
        return UNTRAINED_ADVICE
    if field in OWN_OPTIONS:
        return f"use {OWN_OPTIONS[field]}"
    close = difflib.get_close_matches(field, [*Protocol.model_fields, *OWN_OPTIONS], n=1)
    if close:
        return f"did you mean {OWN_OPTIONS.get(close[0], close[0])}?"
    return f"choose from {', '.join(Protocol.model_fields)}"
