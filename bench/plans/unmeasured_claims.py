"""Find the claims of a plan for which no case of the plan can give a value."""

from __future__ import annotations

from collections.abc import Sequence

from bench.plans.claims import LOCATION_NAMES
from bench.plans.plan import Plan, Timing
from results import METRICS, TIMING_PROBES, Case, Cases, Claim, Quantity, judge, location_of_range, range_at, range_text

OF_TRAINING = ("sequences_until_solved", "training_peak_bytes", "training_added_bytes")
"""Metrics that training jobs measure without a probe."""


def unmeasured_claims(plan: Plan, cases: Sequence[Case]) -> dict[str, str]:
    """Return why claims cannot be measured, by the name of the claim. Other claims are left out.

    `cases` are the reported cases of the plan. A claim that is not returned may still lack a value in the end, for
    example if a model does not support a length.
    """
    settings = list({case.setting.key: case.setting for case in cases}.values())
    reasons = {claim.name: _reason(claim, plan, settings) for claim in plan.claims}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(claim: Claim, plan: Plan, settings: Sequence[Case]) -> str | None:
    """Return why a claim cannot be measured, or None if it can. `settings` are cases with seed 0."""
    own = _selected(claim.cases, claim, settings)
    if not own:
        return "no case matches"
    quantities = [claim.quantity]
    if claim.against is not None and claim.against.quantity is not None and claim.against.cases is None:
        quantities.append(claim.against.quantity)
    measured, reason = _measured(quantities, plan, own)
    if claim.against is None or claim.against.cases is None or reason is not None:
        return reason
    others = _selected(claim.against.cases, claim, settings)
    if not others:
        return "against matches no case"
    compared, reason = _measured([claim.against.quantity or claim.quantity], plan, others)
    if reason is not None:
        return f"against: {reason}"
    has_pair = {(case.task, case.length) for case in measured} & {(case.task, case.length) for case in compared}
    return None if has_pair else "against has no case of the same task and length"


def _selected(selection: Cases, claim: Claim, settings: Sequence[Case]) -> list[Case]:
    """Return the settings that a selection of cases matches, as the judge of claims matches them."""
    alone = claim.model_copy(update={"cases": selection, "against": None})
    return [setting for setting in settings if judge([alone], [setting], [])[0].findings]


def _measured(quantities: Sequence[Quantity], plan: Plan, settings: Sequence[Case]) -> tuple[list[Case], str | None]:
    """Return the settings for which the plan measures all quantities. If there is none, also return why."""
    obstacles = [
        next((text for quantity in quantities if (text := _obstacle(quantity, plan, setting)) is not None), None)
        for setting in settings
    ]
    measured = [setting for setting, text in zip(settings, obstacles, strict=True) if text is None]
    return measured, None if measured else obstacles[0]


def _obstacle(quantity: Quantity, plan: Plan, case: Case) -> str | None:
    """Return why a quantity of a case cannot be measured, or None if it can."""
    protocol, metric = case.protocol, quantity.metric
    if quantity.model is not None:
        return None
    if metric is None or metric in OF_TRAINING:
        if not protocol.trains:
            return "its cases are not trained"
        is_of_fit = quantity.curve is not None and not quantity.curve.startswith("validation")
        return "needs fit_sequences in the protocol" if is_of_fit and protocol.fit_sequences == 0 else None
    probe = METRICS[metric].probe
    if probe is not None and probe not in plan.measure:
        return f"needs the probe {probe}"
    if probe is None and not TIMING_PROBES & set(plan.measure):
        return f"needs the probe {' or '.join(sorted(TIMING_PROBES))}"
    if metric == "early_stopped_accuracy":
        if not protocol.keep_best:
            return "needs keep_best in the protocol"
        return _length_obstacle(quantity.at, [case.length])
    if probe == "accuracy":
        return _test_obstacle(quantity.at, case)
    if metric in ("late_share", "worst_step_seconds", "deadline_steps") and plan.timing.deadline_seconds is None:
        return "needs deadline_seconds in timing"
    return _location_obstacle(metric, quantity.at, plan.timing, case)


def _test_obstacle(at: dict[str, int], case: Case) -> str | None:
    """Return why no test of a case is at the location `at`, or None if one is."""
    ranges = case.protocol.evaluated_ranges()
    if at.keys() & {"from", "to"}:
        if any(at.items() <= location_of_range(lengths).items() for lengths in ranges):
            return None
        wanted = range_at(at)
        return f"no case is tested over {'such a range' if wanted is None else range_text(wanted)}"
    lengths = case.protocol.evaluated_lengths(case.length)
    if not lengths:
        return f"at must name a range, such as {range_text(ranges[0])}"
    return _length_obstacle(at, lengths)


def _length_obstacle(at: dict[str, int], lengths: Sequence[int]) -> str | None:
    return None if at.get("length", lengths[0]) in lengths else f"no case is tested at length {at['length']:,}"


def _location_obstacle(metric: str, at: dict[str, int], timing: Timing, case: Case) -> str | None:
    """Return why nothing is measured at a location in streams, batches or layers, or None if something is."""
    of_one_stream, of_others = set(timing.positions), {timing.streams_position}
    if metric == "steps_per_reading":
        positions = of_one_stream | of_others
    else:
        positions = of_one_stream if LOCATION_NAMES.get(metric) == ("position",) else of_others
    deadline = timing.deadline_seconds
    known = {
        "position": positions,
        "streams": set(timing.streams),
        "chunk": set(timing.timed_chunks),
        "deadline_ns": set() if deadline is None else {round(deadline * 1e9)},
        "batch": {1, timing.batch},
        "layer": set(range(case.depth)),
    }
    wrong = next((name for name, value in at.items() if name in known and value not in known[name]), None)
    return None if wrong is None else f"nothing is measured at {wrong} {at[wrong]:,}"
