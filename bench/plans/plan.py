"""Plans: named sets of cases and probes, written in TOML.

Every `*.toml` file in this folder is a plan that ships with Carousel. Those in `published` repeat published
experiments, and have names such as `published/min-gru-probes`.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.errors import UsageError
from bench.plans.amounts import BudgetBytes, BudgetCount
from bench.plans.claims import check_claims
from bench.plans.extra import Extra
from bench.plans.invalid_field import first_error
from bench.plans.override import DISTINCT, RATE, Length, Override, SpecText, without_rate
from bench.plans.protocol import UNTRAINED, GivenProtocol, changed, resolved_protocol
from results import TIMING_PROBES, Budget, Claim, Probe, Protocol, Strict, Tuning, budgets_of
from results.comparison import RenameError, require_no_circle
from results.specs import Spec, shown_value

FOLDER = Path(__file__).parent
STREAMED_SHARE = 5
"""Divisor of `Timing.steps` for batches of streams, and for calls of a step that is also timed in compiled code. Fewer
steps suffice, because reports use only the median."""
MIN_CALLS = 50
"""Minimum number of timed calls of a step that is also timed in compiled code, unless `Timing.steps` is smaller."""
CHUNK_SHARE = 20
"""Divisor of `Timing.steps` for the number of timed chunks of each size."""
CHUNKS = (1, 4, 16, 64, 256)
"""Numbers of steps in the chunks that a plan times by default, up to its longest position."""
MAX_ROUNDING_NANOSECONDS = 1e-3
"""Largest rounding error of a deadline of whole nanoseconds: an hour in float64 is rounded to half of it."""
MAX_FILE_BYTES = 16 << 10
"""Maximum size of a plan file in bytes. The TOML parser may take quadratic time, which is tolerable up to this size."""


class Timing(Strict):
    """The settings of the timing probes."""

    positions: Annotated[tuple[Length, ...], Field(min_length=1), DISTINCT] = (1, 16, 128, 1024, 4096)
    """Positions in a stream at which a step is timed."""
    steps: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    """Number of timed steps of one stream at each position, rounded up to a multiple of `blocks`."""
    blocks: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of blocks per measurement. The blocks of the models of a group are interleaved."""
    streams: Annotated[tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...], DISTINCT] = (1, 8, 64)
    """Batch sizes at which a step is timed."""
    streams_position: Length = 128
    """Position in each stream of a batch at which a step is timed. Chunks and deadlines start there too."""
    chunks: Annotated[tuple[Length, ...], DISTINCT] | None = None
    """Numbers of steps that arrive at once, to be timed from a carried state. None for those of `CHUNKS` that are not
    longer than the longest position."""
    deadline_seconds: Annotated[float, Field(ge=1e-9, le=3600)] | None = None
    """Duration that a step should not exceed. The share of later steps is measured; None if it is not."""
    block_seconds: Annotated[float, Field(gt=0, le=60)] = 0.02
    """Target duration of the timed calls in one block of the `latency` probe, in seconds."""
    batch: Length = 32
    """Batch size of timed training steps and forward passes. Forward passes are also timed at batch size 1."""

    @property
    def times_one_stream(self) -> bool:
        """Whether the timings at `positions` already include the requested batch of one stream."""
        return 1 in self.streams and self.streams_position in self.positions

    @property
    def timed_chunks(self) -> tuple[int, ...]:
        """Numbers of steps in the chunks to be timed."""
        return tuple(chunk for chunk in CHUNKS if chunk <= max(self.positions)) if self.chunks is None else self.chunks

    @property
    def call_steps(self) -> int:
        """Number of timed calls of a step that is also timed in compiled code."""
        return min(self.steps, max(MIN_CALLS, self.batch_steps))

    @property
    def batch_steps(self) -> int:
        """Number of timed steps of each batch of streams."""
        return -(-self.steps // STREAMED_SHARE)

    @property
    def chunk_calls(self) -> int:
        """Number of timed chunks of each size."""
        return -(-self.steps // CHUNK_SHARE)

    @field_validator("deadline_seconds")
    @classmethod
    def _has_whole_nanoseconds(cls, seconds: float | None) -> float | None:
        if seconds is not None and abs(seconds * 1e9 - round(seconds * 1e9)) > MAX_ROUNDING_NANOSECONDS:
            raise ValueError(f"a deadline has whole nanoseconds, not {seconds * 1e9:g} of them; round it")
        return seconds

    @model_validator(mode="after")
    def _chunks_fit(self) -> Self:
        longest = max(self.positions)
        for chunk in self.chunks or ():
            if chunk > longest:
                raise ValueError(
                    f"a chunk of {chunk:,} steps is longer than the longest position, {longest:,}; "
                    "give shorter chunks or a later position"
                )
        return self


class Plan(Strict):
    """A grid of cases, and the probes that measure each case."""

    summary: str
    """One line that `carousel list plans` prints."""
    archs: Annotated[tuple[SpecText, ...], DISTINCT]
    """Specs of architectures, such as `lstm:bias=False`. They may be empty if each extra grid has its own."""
    tasks: Annotated[tuple[SpecText, ...], Field(min_length=1), DISTINCT]
    """Specs of tasks, such as `recall:pairs=4`."""
    lengths: Annotated[tuple[Length, ...], Field(min_length=1), DISTINCT]
    """Lengths of the cases, in time steps."""
    seeds: Annotated[int, Field(ge=1, le=10_000)]
    """Number of seeds; the first seed is 0."""
    depth: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of layers per model."""
    params: BudgetCount | None = None
    """Number of parameters per model. Exactly one of `params`, `width`, `state` and `step_flops` is given."""
    params_of: Literal["model", "layers"] = "model"
    """What `params` counts: all parameters, or those of the layers without embedding and readout."""
    width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """Width of the layers."""
    state: BudgetBytes | None = None
    """Size of the state of one stream at the trained length: a number of bytes, or a text such as `4KiB`."""
    step_flops: BudgetCount | None = None
    """FLOPs of one streamed step at the trained length: a number, or a text such as `40k`."""
    measure: Annotated[tuple[Probe, ...], Field(min_length=1), DISTINCT] = ("accuracy", "latency", "streaming")
    """Probes to run."""
    protocol: GivenProtocol = Field(default_factory=dict)
    """Fields of `Protocol` that differ from its defaults. In TOML, `untrained` stands for cases that are timed with
    their initial weights."""
    tuning: Tuning | None = None
    """Grid from which the learning rate is chosen per architecture, task, length and size; None for fixed rates."""
    override: tuple[Override, ...] = ()
    """Changes to the protocol. A later override replaces the values of an earlier one."""
    extra: tuple[Extra, ...] = ()
    """Additional grids of cases."""
    rates_found_for: tuple[SpecText, ...] | None = None
    """The specs for which `found_by` of an override holds; None for all of them."""
    claims: tuple[Claim, ...] = ()
    """Claims that a report judges."""
    renamed: dict[SpecText, SpecText] = Field(default_factory=dict)
    """New names of architectures and tasks by their old names. Comparisons join the cases of older runs by it."""
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _has_archs(self) -> Self:
        if not self.archs and not (self.extra and all(extra.archs for extra in self.extra)):
            raise ValueError("archs must not be empty, unless each [[extra]] grid has its own")
        return self

    @property
    def budgets(self) -> list[Budget]:
        """The given sizes of a model. A valid plan gives exactly one."""
        return budgets_of(self)

    def grids(self) -> list[Plan]:
        """Return the plan itself, followed by one plan per product of tasks and lengths of each extra grid."""
        extras = [
            self.model_copy(
                update={
                    "archs": extra.archs or self.archs,
                    "tasks": tasks,
                    "lengths": lengths,
                    "seeds": min(extra.seeds or self.seeds, self.seeds),
                    "override": (*self.override, Override(protocol=extra.protocol)),
                    "extra": (),
                    **extra.sizes(),
                }
            )
            for extra in self.extra
            for tasks, lengths in extra.products(self.tasks, self.lengths)
        ]
        return [self, *extras]

    @property
    def fixes_rates(self) -> bool:
        """Whether the plan gives a learning rate in any protocol."""
        overrides, extras = (each.protocol for each in self.override), (each.protocol for each in self.extra)
        return any(RATE in protocol for protocol in (self.protocol, *overrides, *extras))

    def tuned_by(self, tuning: Tuning) -> Plan:
        """Return the plan with learning rates chosen from a grid, which replaces all rates that the plan fixes."""
        return self.model_copy(
            update={
                "tuning": tuning,
                "protocol": without_rate(self.protocol),
                "override": tuple(
                    each.model_copy(update={"protocol": without_rate(each.protocol), "found_by": None})
                    for each in self.override
                ),
                "extra": tuple(
                    each.model_copy(update={"protocol": without_rate(each.protocol)}) for each in self.extra
                ),
            }
        )

    def with_protocol(self, fields: dict[str, Any]) -> Plan:
        """Return the plan with these fields in every protocol, also in those of overrides and extra grids.

        A learning rate replaces the grid of `tuning`.
        """
        changes: dict[str, Any] = {
            "protocol": self.protocol | fields,
            "override": tuple(
                each.model_copy(
                    update={
                        "protocol": each.protocol | {name: fields[name] for name in each.protocol if name in fields},
                        "found_by": None if RATE in fields else each.found_by,
                    }
                )
                for each in self.override
            ),
            "extra": tuple(each.model_copy(update={"protocol": each.protocol | fields}) for each in self.extra),
        }
        return self.model_copy(update=changes | ({"tuning": None} if RATE in fields else {}))

    def without_origins_unless_in(self, original: Plan) -> Plan:
        """Return the plan without `found_by` where a run that tuned the plan `original` cannot have found the rate.

        Such a run trained models of the sizes and architectures of `original`.
        """
        has_sizes = self.budgets == original.budgets and self.depth == original.depth
        known = dict.fromkeys(spec for grid in original.grids() for spec in grid.archs) if has_sizes else {}
        own = {spec for grid in self.grids() for spec in grid.archs}
        return self if known.keys() >= own else self.model_copy(update={"rates_found_for": tuple(known)})

    def rate_found_by(self, arch: str, task: str, length: int) -> str | None:
        """Return which run found the learning rate of such cases, in the words of the plan; None if it does not say.

        The arguments are those of `protocol_of`.
        """
        found_by = None
        if self.rates_found_for is not None and arch not in self.rates_found_for:
            return None
        for override in self.override:
            if RATE in override.protocol and override.applies_to(arch, task, length):
                found_by = override.found_by
        return found_by

    def protocol_of(self, arch: str, task: str, length: int) -> Protocol:
        """Return the protocol of the architecture and task with the specs `arch` and `task`, at `length` time steps.

        The protocol has no learning rate if the plan tunes it. Raises `UsageError` if a value is invalid or missing, or
        if values contradict each other.
        """
        fields = dict(self.protocol)
        for override in self.override:
            if override.applies_to(arch, task, length):
                fields = changed(fields, override.protocol)
        if self.tuning is not None:
            if (optimizer := fields.get("optimizer")) in ("guessing", "none"):
                why = "is untrained" if optimizer == "none" else "has optimizer = 'guessing'"
                raise UsageError(
                    f"protocol: {arch} on {task} at {length} {why} and has no learning rate to tune: "
                    "omit the tuning, or these cases"
                )
            if RATE in fields:
                raise UsageError(
                    f"protocol: learning_rate is {shown_value(fields[RATE])} for {arch} on {task} at {length}, but the "
                    "plan also tunes it: remove learning_rate or the table tuning"
                )
            fields[RATE] = None
        protocol = resolved_protocol(fields, length)
        if not protocol.trains and (untimed := [probe for probe in self.measure if probe not in TIMING_PROBES]):
            raise UsageError(
                f"measure: {untimed[0]} needs trained models, but {arch} on {task} at {length} is {UNTRAINED}: measure "
                f"{' and '.join(probe for probe in get_args(Probe) if probe in TIMING_PROBES)} only"
            )
        lowest = min(self.tuning.learning_rates) if self.tuning is not None else math.inf
        if protocol.final_learning_rate > lowest:
            raise UsageError(
                f"protocol: final_learning_rate ({protocol.final_learning_rate:g}) must be at most the lowest rate of "
                f"the grid ({lowest:g})"
            )
        return protocol


def names() -> list[str]:
    """Return the names of the plans that ship with Carousel."""
    found = [path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.toml")]
    return sorted(found, key=lambda name: ("/" in name, name))


def path_of(name: str) -> Path:
    """Return the file of the plan with this name, which `names` has."""
    return FOLDER / f"{name}.toml"


def load(name: str) -> Plan:
    """Load a plan by its name or by the path of a TOML file.

    Raises `UsageError` if the plan is missing, unreadable, too large or invalid, or if one of its protocols is.
    """
    path = path_of(name) if name in names() else Path(name)
    if path.suffix != ".toml" or not os.path.isfile(path):  # noqa: PTH113  (accepts names of any length)
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(
            f"no plan {name!r}{hint}; choose from {', '.join(names())}, or give the path of an existing .toml file"
        )
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        limit = f"at most {MAX_FILE_BYTES >> 10} KiB are read"
        raise UsageError(f"the plan {path} is too large ({size:,} bytes): {limit}; split it into several plans")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows may add a byte order mark
        plan = Plan.model_validate_json(json.dumps(content))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}; name a readable file") from None
    except ValidationError as error:
        raise UsageError(f"invalid plan {path}: {first_error(error, content)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the plan {path} is not valid TOML: it is not UTF-8; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"the plan {path} is not valid TOML: {error}") from None
    except TypeError:
        raise UsageError(f"the plan {path} contains a date or time, which no field accepts: remove it") from None
    for grid in plan.grids():
        if len(grid.budgets) != 1:
            given = " and ".join(budget.kind.removeprefix("layer_") for budget in grid.budgets) or "none of them"
            raise UsageError(f"invalid plan {path}: give one of params, width, state and step_flops; given: {given}")
    if plan.params_of == "layers" and plan.params is None:
        raise UsageError(f"invalid plan {path}: params_of = 'layers' needs params; add params, or remove params_of")
    _check_overrides(plan, path)
    _check_protocols(plan, path)
    _check_renamed(plan, path)
    try:
        check_claims(plan.claims)
    except UsageError as error:
        raise UsageError(f"invalid plan {path}: {error}") from None
    return plan


def _check_overrides(plan: Plan, path: Path) -> None:
    """Raise `UsageError` if an override names an architecture, a task or a length that the plan does not have."""
    grids = plan.grids()
    known = {
        "architecture": _with_names(spec for grid in grids for spec in grid.archs),
        "task": _with_names(spec for grid in grids for spec in grid.tasks),
        "length": {str(length) for grid in grids for length in grid.lengths},
    }
    for override in plan.override:
        named = {"architecture": override.archs, "task": override.tasks, "length": map(str, override.lengths)}
        for kind, values in named.items():
            for value in values:
                if value not in known[kind]:
                    shown = value if kind == "length" else repr(value)
                    raise UsageError(
                        f"invalid plan {path}: an override names the {kind} {shown}, which the plan does not have; "
                        f"add the {kind} to the plan, or correct the override"
                    )


def _check_renamed(plan: Plan, path: Path) -> None:
    """Raise `UsageError` if the plan renames in a circle, or still has an old name."""
    try:
        require_no_circle(plan.renamed)
    except RenameError as error:
        raise UsageError(f"invalid plan {path}: renamed: {error}") from None
    used = {spec for grid in plan.grids() for spec in (*grid.archs, *grid.tasks)}
    for old, new in plan.renamed.items():
        if old in _with_names(used):
            raise UsageError(
                f"invalid plan {path}: renamed: {old!r} became {new!r}, but the plan still has {old!r}; use the new "
                "name"
            )


def _with_names(specs: Iterable[str]) -> set[str]:
    """Return specs, and the names of their architectures or tasks."""
    return {text for spec in specs for text in (spec, Spec.parse_stored(spec).name)}


def _check_protocols(plan: Plan, path: Path) -> None:
    """Raise `UsageError` if the protocol of an architecture on a task at a length is invalid."""
    try:
        for grid in plan.grids():
            for arch, task, length in itertools.product(grid.archs, grid.tasks, grid.lengths):
                grid.protocol_of(arch, task, length)
    except UsageError as error:
        raise UsageError(f"invalid plan {path}: {error}") from None
