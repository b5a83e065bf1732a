"""Refuse claims of a plan that contradict themselves or can never hold.

The checks apply to plans when they are loaded. Claims that are stored with a run are read without them, so that older
runs stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from bench.errors import UsageError
from results import Claim, Protocol, Quantity

GATES = ("write", "hold", "read")
"""Gates that are measured, as the names of their metrics begin."""
LOCATION_NAMES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("accuracy", "cross_entropy", "mse"), ("length", "from", "to")),
    "early_stopped_accuracy": ("length",),
    **dict.fromkeys(("forward_seconds", "train_step_seconds", "first_call_seconds"), ("batch",)),
    **dict.fromkeys(("forward_flops", "train_step_flops"), ("batch",)),
    "matmul_flops_per_second": ("batch", "rows"),
    **dict.fromkeys(("step_seconds", "call_step_seconds", "step_flops", "step_bytes"), ("position",)),
    **dict.fromkeys(("state_bytes", "workspace_bytes", "packed_weight_bytes"), ("position",)),
    "read_bytes_per_second": ("position",),
    **dict.fromkeys(("stream_step_seconds", "call_stream_step_seconds"), ("position", "streams")),
    "steps_per_reading": ("position", "streams"),
    "chunk_seconds": ("position", "chunk"),
    **dict.fromkeys(("late_share", "worst_step_seconds", "deadline_steps"), ("position", "deadline_ns")),
    **dict.fromkeys(("memory_trace", "gradient_trace", "initial_gradient_trace"), ("step",)),
    **dict.fromkeys((f"{gate}_gate" for gate in GATES), ("layer", "step")),
    **dict.fromkeys((f"{gate}_contrast" for gate in GATES), ("layer",)),
    **dict.fromkeys(("forget_share", "retention", "half_life_steps"), ("layer",)),
    "hold_histogram": ("layer", "from_percent"),
}
"""The names in the locations of a metric's measurements. Measurements of all other metrics have no location."""


def check_claims(claims: Sequence[Claim]) -> None:
    """Raise `UsageError` if claims share a name, or if one contradicts itself or can never hold."""
    names = [claim.name for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"claim {name!r}: {names.count(name)} claims have this name; give each its own")
    for claim in claims:
        fault = _fault(claim)
        if fault is not None:
            raise UsageError(f"claim {claim.name!r}: {fault}")


def _fault(claim: Claim) -> str | None:
    """Return what is wrong with a claim and what to do, or None if nothing is."""
    against = claim.against
    selections = [claim.cases] if against is None or against.cases is None else [claim.cases, against.cases]
    for cases in selections:
        for field in cases.protocol.keys() - Protocol.model_fields.keys():
            return f"a protocol has no field {field!r}; choose from {', '.join(Protocol.model_fields)}"
    if (fault := _quantity_fault(claim.quantity, "quantity")) is not None:
        return fault
    if against is not None:
        if against.quantity is not None and (fault := _quantity_fault(against.quantity, "against.quantity")):
            return fault
        if against.cases in (None, claim.cases) and against.quantity in (None, claim.quantity):
            return "against names the cases and the quantity of the claim itself; give other cases or another quantity"
    return _bounds_fault(claim)


def _bounds_fault(claim: Claim) -> str | None:
    low, high, published = claim.at_least, claim.at_most, claim.published
    if low is not None and high is not None and low > high:
        return f"at_least ({low:g}) is above at_most ({high:g}), so no value satisfies both; exchange or correct them"
    first, last = claim.range
    possible = f"{_named(claim.quantity)} is {_range_text(first, last)}"
    if published is not None and not first <= published <= last:
        return f"published is {published:,.10g}, but {possible}; correct it"
    if low is not None and low > last:
        return f"at_least is {low:,.10g}, but {possible}; correct it"
    if high is not None and high < first:
        return f"at_most is {high:,.10g}, but {possible}; correct it"
    if published is not None and not claim.not_comparable and not claim.differs and not claim.holds(published):
        return (
            f"the published value, {published:,.10g}, is not {claim.rule}; correct the bounds or the value, or say in "
            "differs why ours must differ"
        )
    return None


def _quantity_fault(quantity: Quantity, field: str) -> str | None:
    """Return what is wrong with a quantity of a claim and what to do, or None. `field` is the field that gives it."""
    first, last = quantity.from_epoch, quantity.until_epoch
    if first is not None and last is not None and first > last:
        return f"{field}: from_epoch ({first}) is above until_epoch ({last}); exchange or correct them"
    of_curves = quantity.model_fields_set & {"reduce", "from_epoch", "until_epoch"}
    if quantity.curve is None and of_curves:
        return f"{field}: {min(of_curves)} belongs to a curve; remove it, or give curve"
    if quantity.metric is None:
        return f"{field}: at belongs to a metric; remove it, or give metric" if quantity.at else None
    known = LOCATION_NAMES.get(quantity.metric, ())
    for name in quantity.at:
        if name not in known:
            choice = f"choose from {', '.join(known)}" if known else "remove at"
            return f"{field}: no measurement of {quantity.metric} has the location {name!r}; {choice}"
    return None


def _named(quantity: Quantity) -> str:
    """Return the name of what a quantity measures."""
    return quantity.metric or quantity.curve or ("training" if quantity.training is not None else "model")


def _range_text(first: float, last: float) -> str:
    """Return the possible values in words. One end may be infinite."""
    if first == -inf:
        return f"at most {last:g}"
    return f"at least {first:g}" if last == inf else f"between {first:g} and {last:g}"
