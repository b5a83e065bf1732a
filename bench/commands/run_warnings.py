"""What `carousel run` says about a plan before it trains anything, and about plugins that failed."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import arch
import arch.kernels
import reports
import tasks
from bench.errors import UsageError
from bench.plans.grid import reported_cases
from bench.plans.override import RATE
from bench.plans.plan import Plan
from bench.plans.unmeasured_claims import unmeasured_claims
from bench.plugins.loader import Loaded
from bench.training.model import describe_on_meta
from reports.format import listed, plural
from results import Case, Model, Record, RunFile, Status
from results.specs import Spec

LARGEST_SHARE_OF_ENDS = 0.5
"""Share of a model's parameters in embedding and readout above which a run warns."""
MAX_NAMED = 3
"""Number of claims that a warning names before it only counts the others."""
SPOILT: tuple[Status, ...] = ("inconsistent", "diverged")
"""What becomes of the cases of a layer with a fault that `carousel validate` finds."""
SMALL_WIDTH = 64
"""Width of the models that are built to see whether a step can be compiled. Most numbers of heads divide it."""


def option_warnings(planned: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return a line per spec on the command line that lacks options with which the plan has the same name.

    The variants of the plan and such a spec differ in more than what was asked for, so they are hard to compare.

    Args:
        planned: The specs of the plan.
        patterns: The names, globs, additions and exclusions that select among them.
    """
    lines = []
    for pattern in patterns:
        text = pattern.removeprefix("+")
        spec = Spec.parse_stored(text)
        given = dict(spec.options)
        own = [other.options for each in planned if (other := Spec.parse_stored(each)).name == spec.name]
        is_of_plan = any(fnmatchcase(each, text) for each in planned)
        if not given or not own or is_of_plan or pattern.startswith("!"):
            continue
        shared = {name: value for name, value in own[0].items() if all(each.get(name) == value for each in own)}
        if lost := {name: value for name, value in shared.items() if name not in given}:
            options = ",".join(f"{name}={value}" for name, value in lost.items())
            lines.append(
                f"{spec} is used as written, without {options} of the plan's {spec.name}; to keep that, write "
                f"{Spec(spec.name, given | lost)}"
            )
    return lines


def claim_warnings(as_shipped: Plan, plan: Plan) -> list[str]:
    """Return a line that names the claims for which neither a plan as written nor the chosen plan can give a value.

    A choice on the command line may leave claims out, so nothing is said of a claim that only the choice leaves out.
    Nothing is said either if the plan as written cannot be run, for example without a plugin that the choice omits.
    """
    if not as_shipped.claims:
        return []
    try:
        reasons = unmeasured_claims(as_shipped, [each.case for each in reported_cases(as_shipped)])
        if reasons and plan != as_shipped:
            left = unmeasured_claims(plan, [each.case for each in reported_cases(plan)])
            reasons = {name: reason for name, reason in reasons.items() if name in left}
    except UsageError:
        return []
    if not reasons:
        return []
    named = [f"{name} ({reason})" for name, reason in list(reasons.items())[:MAX_NAMED]]
    more = [f"{len(reasons) - MAX_NAMED} more"] if len(reasons) > MAX_NAMED else []
    return [
        f"{len(reasons)} of {plural(len(as_shipped.claims), 'claim')} can never be measured: "
        f"{listed([*named, *more])}; correct the claims or the plan"
    ]


def rate_warnings(plan: Plan) -> list[str]:
    """Return a line that counts the settings without a tuned learning rate, if the plan has tuned rates for others."""
    if plan.tuning is not None or not any(each.archs and RATE in each.protocol for each in plan.override):
        return []
    settings = {
        (each.case.arch, each.case.task, each.case.length): each
        for each in reported_cases(plan)
        if each.case.protocol.learning_rate is not None
    }
    untuned = {setting: each.case for setting, each in settings.items() if each.rate_found_by is None}
    if not untuned:
        return []
    (spec, task, length), case = next(iter(untuned.items()))
    rate = case.protocol.learning_rate
    return [
        f"no run has tuned the learning rates of {len(untuned)} of {len(settings)} settings, such as {spec} on {task} "
        f"at {length:,}, which trains at {rate:g}; to tune them, add --learning-rates 1e-3,3e-3,1e-2,3e-2"
    ]


def budget_warnings(plan: Plan) -> list[str]:
    """Return what a plan of budgets should be warned about, before anything is trained.

    There is one sentence per architecture that misses its budget, as the report of the run will say it. One more line
    counts the settings in which embedding and readout take most of a budget of parameters.
    """
    cases = {(each.case.arch, each.case.task, each.case.length): each.case for each in reported_cases(plan)}
    models = [
        (case, describe_on_meta(case, tasks.build(case.task), measures_state=case.budget.kind == "state"))
        for case in cases.values()
        if case.budget is not None
    ]
    return [*reports.planned_misses(models), *_narrow_layers(models)]


def _narrow_layers(models: Sequence[tuple[Case, Model]]) -> list[str]:
    """Return a line that counts the settings in which the layers have a small share of the parameters.

    Layers without parameters, such as reservoirs, are not counted.
    """
    shares = [
        (1 - model.layer_parameters / model.parameters, case)
        for case, model in models
        if case.budget is not None and case.budget.kind == "params" and model.layer_parameters
    ]
    largest, case = max(shares, key=lambda pair: pair[0], default=(0.0, None))
    if case is None or largest <= LARGEST_SHARE_OF_ENDS:
        return []
    count = sum(share > LARGEST_SHARE_OF_ENDS for share, _ in shares)
    return [
        f"embedding and readout take most of the parameters in {count} of {len(shares)} settings, such as "
        f"{largest:.0%} of {case.arch} on {case.task} at {case.length:,}; to budget the layers alone, add "
        "--params-of layers"
    ]


def deadline_warnings(plan: Plan, device: str) -> list[str]:
    """Return a line that names the architectures whose steps are interpreted, because no deadline is tested for them.

    A layer says whether its step can be compiled. If an architecture cannot be built small, nothing is said of it.
    """
    specs = dict.fromkeys(spec for grid in plan.grids() for spec in grid.archs)
    nothing_is_compiled = device != "cpu" or arch.kernels.obstacle() is not None
    interpreted = [spec for spec in specs if nothing_is_compiled or _is_interpreted(spec)]
    if not interpreted:
        return []
    effect = (
        "the deadline has no effect"
        if len(interpreted) == len(specs)
        else "no deadline is tested for some architectures"
    )
    return [f"{effect}, because only compiled steps are tested; interpreted: {', '.join(interpreted)}"]


def _is_interpreted(spec: str) -> bool:
    try:
        layers: list[Any] = list(arch.build(spec, channels=1, outputs=2, width=SMALL_WIDTH, depth=1, seed=0).layers)
    except ValueError:
        return False
    return any(layer.backend == "reference" or layer.streaming_spec() is None for layer in layers)


def plugin_warnings(loaded: Loaded, plan: Plan) -> list[str]:
    """Return a warning for each disabled plugin and each plugin file that the plan does not use."""
    used = {Spec.parse_stored(spec).name for grid in plan.grids() for spec in (*grid.archs, *grid.tasks)}
    warnings = [
        f"the plugin {plugin.name} is disabled: {plugin.reason}"
        for plugin in loaded.disabled
        if plugin.name not in used
    ]
    for plugin in loaded.plugins:
        if plugin.sources is not None and plugin.name not in used:
            option = "-a" if plugin.name in arch.names() else "-t"
            warnings.append(f"the plan does not use the plugin {plugin.name}; add it with {option} +{plugin.name}")
    own = {plugin.name for plugin in loaded.plugins}
    specs = dict.fromkeys(spec for grid in plan.grids() for spec in grid.archs if Spec.parse_stored(spec).name in own)
    obstacles = {spec: obstacle for spec in specs if (obstacle := _cell_obstacle(spec)) is not None}
    return warnings + [
        f"{spec} is interpreted: its compiled cell is not used: {why}" for spec, why in obstacles.items()
    ]


def spoilt_plugins(run: RunFile, records: Sequence[Record]) -> list[str]:
    """Return advice on the plugins whose cases failed for a reason that `carousel validate` may find."""
    names = sorted(
        {Spec.parse_stored(record.case.arch).name for record in records if record.status in SPOILT} & set(run.plugins)
    )
    return [f"To find why cases of {listed(names)} failed, run carousel validate --plugin FILE."] if names else []


def _cell_obstacle(spec: str) -> str | None:
    """Return why a plugin's compiled cell is not used, or None if it is used or if nothing is known."""
    try:
        model = arch.build(spec, channels=1, outputs=1, width=SMALL_WIDTH, depth=1, seed=0)
        return arch.cell_obstacle(getattr(model.layers[0], "layer", model.layers[0]))
    except Exception:  # a plugin may raise any exception, which the run reports where it matters
        return None
