"""The training protocol of a case of a plan: the fields that the plan gives, and defaults for the others.

Most defaults are those of `Protocol`. Two fields have other defaults in a plan, because the defaults of `Protocol`
describe the cases of runs that were stored before the fields existed:

- `solved_at` is `STRICT_SHARE` if lengths beyond the trained one are tested. A model that answers 99% of the short
  sequences may still be wrong about the long ones, so a lower bar would decide which models are tested for it.
- `weight_decay_on` is `matrices` if there is a weight decay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError

from bench.errors import UsageError
from bench.plans.invalid_field import first_error
from results import Protocol, range_text
from results.specs import shown_value

STRICT_SHARE = 0.999
"""Share of the span at which training stops if longer sequences are tested, unless the plan gives `solved_at`."""
DURATIONS = ("steps", "train_sequences", "epochs")
SCHEDULING = ("schedule", "halve_every", "final_learning_rate", "warmup_steps", "warmup_share")
OF_GRADIENTS = ("learning_rate", *SCHEDULING, "clip", "weight_decay", "weight_decay_on")
"""The fields that only training by gradients has."""
UNTRAINED = "untrained"
"""Text in a plan that stands for the protocol of models with their initial weights, which are timed but not trained."""
OF_UNTRAINED = {"optimizer": "none"}
"""The fields of that protocol."""


def _given_fields(given: object) -> object:
    """Return the fields that a plan gives as a table or as the text `UNTRAINED`."""
    if isinstance(given, str):
        if given != UNTRAINED:
            raise ValueError(f"a protocol is a table such as {{ steps = 300 }}, or '{UNTRAINED}', not {given!r}")
        return dict(OF_UNTRAINED)
    return given


GivenProtocol = Annotated[dict[str, Any], BeforeValidator(_given_fields)]
"""Fields of a protocol that a plan gives. In TOML, the text `untrained` may stand in place of a table."""


def changed(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a protocol after the changes of a more specific table of the plan.

    A table that chooses `guessing` does not inherit the fields that only training by gradients has. Untrained cases
    inherit nothing.
    """
    if changes.get("optimizer") == "none":
        return dict(changes)
    if changes.get("optimizer") == "guessing":
        fields = {field: value for field, value in fields.items() if field not in OF_GRADIENTS}
    return {**fields, **changes}


def resolved_protocol(given: Mapping[str, Any], length: int) -> Protocol:
    """Return the protocol of cases that are trained at `length` time steps.

    `given` has the fields that the plan gives, with a rate of None if tuning chooses it. Raises `UsageError` if a value
    is invalid or missing, or if values contradict each other.
    """
    protocol = _validated(given)
    if not protocol.trains:
        return _untrained(protocol, given)
    _check_optimizer(protocol, given)
    defaults: dict[str, Any] = {}
    if protocol.optimizer == "guessing":
        defaults["learning_rate"] = None
    if protocol.tests_beyond(length):
        defaults["solved_at"] = STRICT_SHARE
    if protocol.weight_decay:
        defaults["weight_decay_on"] = "matrices"
    if defaults := {field: value for field, value in defaults.items() if field not in given}:
        protocol = protocol.model_copy(update=defaults)
    _check_duration(protocol)
    _check_training_data(protocol, length)
    _check_schedule(protocol)
    return protocol


def _validated(given: Mapping[str, Any]) -> Protocol:
    try:
        protocol = Protocol.model_validate_json(json.dumps(dict(given)))
    except ValidationError as error:
        raise UsageError(f"protocol: {first_error(error)}") from None
    for at in protocol.evaluate_at:
        if protocol.evaluate_at.count(at) > 1:
            raise UsageError(f"protocol: evaluate_at: {shown_value(at)} occurs more than once; give each value once")
    return protocol


def _untrained(protocol: Protocol, given: Mapping[str, Any]) -> Protocol:
    """Return the protocol of untrained cases. Raises `UsageError` if the plan gives fields of training or tests."""
    for field in given:
        if field not in OF_UNTRAINED:
            raise UsageError(
                f"protocol: {field} is a setting of training and tests, but the cases are {UNTRAINED}: omit one of them"
            )
    return protocol.model_copy(update={"learning_rate": None})


def _check_optimizer(protocol: Protocol, given: Mapping[str, Any]) -> None:
    if protocol.optimizer == "guessing":
        for field in given:
            if field in OF_GRADIENTS:
                raise UsageError(f"protocol: {field} needs gradients, but optimizer is 'guessing': omit one of them")
        if protocol.keep_best:
            raise UsageError("protocol: optimizer = 'guessing' always keeps the best weights: omit keep_best")
    elif "guess_range" in given:
        raise UsageError(
            "protocol: guess_range is the bound of guessed weights: add optimizer = 'guessing', or omit it"
        )


def _check_duration(protocol: Protocol) -> None:
    steps, fixed_set = protocol.steps, (protocol.train_sequences, protocol.epochs)
    if (steps is None) == (None in fixed_set) or (steps is not None and fixed_set != (None, None)):
        given = " and ".join(name for name in DURATIONS if getattr(protocol, name) is not None) or "none of them"
        raise UsageError(f"protocol: give either steps, or train_sequences and epochs; given: {given}")
    if protocol.fit_sequences > (protocol.train_sequences or 0):
        problem = f"protocol: fit_sequences ({protocol.fit_sequences:,})"
        if protocol.train_sequences is None:
            hint = "give train_sequences and epochs instead of steps, or omit fit_sequences"
            raise UsageError(f"{problem} needs a fixed training set: {hint}")
        raise UsageError(f"{problem} must be at most train_sequences ({protocol.train_sequences:,})")


def _check_training_data(protocol: Protocol, length: int) -> None:
    if protocol.train_lengths != "fixed" and protocol.steps is None:
        raise UsageError(
            f"protocol: train_lengths = {protocol.train_lengths!r} needs fresh batches: give steps, not epochs"
        )
    lengths = protocol.training_range()
    if lengths is not None and lengths[1] != length:
        hint = f"write '{range_text((lengths[0], length))}'" if lengths[0] < length else "start it earlier"
        raise UsageError(
            f"protocol: train_lengths: the range '{range_text(lengths)}' must end at the length of the case, {length}: "
            f"{hint}"
        )
    shuffled = "batch" if protocol.train_sequences is None else "train_sequences"
    if protocol.control == "shuffled_targets" and getattr(protocol, shuffled) == 1:
        raise UsageError(
            f"protocol: control = 'shuffled_targets' needs several sequences, but {shuffled} is 1: "
            f"give {shuffled} of at least 2"
        )


def _check_schedule(protocol: Protocol) -> None:
    if protocol.warmup_steps and protocol.warmup_share:
        raise UsageError(
            f"protocol: warmup_steps ({protocol.warmup_steps:,}) and warmup_share ({protocol.warmup_share:g}) exclude "
            "each other: give one of them"
        )
    final, rate = protocol.final_learning_rate, protocol.learning_rate
    if final and protocol.schedule != "cosine":
        raise UsageError(
            f"protocol: final_learning_rate is the end of the cosine schedule, but schedule is {protocol.schedule!r}: "
            "omit one of them"
        )
    if rate is not None and final > rate:
        raise UsageError(f"protocol: final_learning_rate ({final:g}) must be at most learning_rate ({rate:g})")
