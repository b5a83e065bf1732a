"""Plans: named sets of cases and probes, written in TOML.

Every `*.toml` file in this folder is a plan that ships with Carousel.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from bench.errors import UsageError
from results import Claim, Probe, Protocol, Strict
from results.specs import Spec

FOLDER = Path(__file__).parent
STREAMED_SHARE = 5
"""Divisor of `Timing.steps` for batches of streams. Fewer steps suffice, because only the mean time is reported."""
MAX_FILE_BYTES = 16 << 10
"""Maximum size of a plan file in bytes. The TOML parser takes quadratic time, but less than a second for this size."""

SpecText = Annotated[str, Field(min_length=1, max_length=400)]
Length = Annotated[int, Field(ge=1, le=1 << 24)]


class Timing(Strict):
    """The settings of the timing probes."""

    positions: Annotated[tuple[Length, ...], Field(min_length=1)] = (1, 16, 128, 1024, 4096)
    """Positions in a stream at which a step is timed."""
    steps: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    """Number of timed steps at each position, divided into `blocks` blocks."""
    blocks: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of blocks per measurement. The models of a group take turns after each block."""
    streams: tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...] = (1, 8, 64)
    """Batch sizes at which a step is timed."""
    streams_position: Length = 128
    """Position in each stream of a batch at which a step is timed."""
    block_seconds: Annotated[float, Field(gt=0, le=60)] = 0.02
    """Target duration of one latency sample, in seconds."""
    batch: Length = 32
    """Batch size of the timed forward passes and training steps."""

    @property
    def times_one_stream(self) -> bool:
        """Whether the timings at `positions` already include the requested batch of one stream."""
        return 1 in self.streams and self.streams_position in self.positions


class Override(Strict):
    """Changes to the protocol for some tasks or lengths. An empty tuple stands for all tasks or all lengths."""

    tasks: tuple[SpecText, ...] = ()
    lengths: tuple[Length, ...] = ()
    protocol: dict[str, Any]


class Extra(Strict):
    """An additional grid of cases. Omitted fields have the values of the plan's own grid."""

    archs: tuple[SpecText, ...] = ()
    tasks: tuple[SpecText, ...] = ()
    lengths: tuple[Length, ...] = ()
    seeds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Number of seeds; None for the plan's number. A larger number is reduced to the plan's number."""
    protocol: dict[str, Any] = Field(default_factory=dict)
    """Fields that differ from the plan's protocol."""


class Plan(Strict):
    """A grid of cases, and the probes that measure each case."""

    summary: str
    """One line that `carousel list plans` prints."""
    archs: Annotated[tuple[SpecText, ...], Field(min_length=1)]
    """Specs of architectures, such as `lstm:bias=False`."""
    tasks: Annotated[tuple[SpecText, ...], Field(min_length=1)]
    """Specs of tasks, such as `recall:pairs=4`."""
    lengths: Annotated[tuple[Length, ...], Field(min_length=1)]
    """Lengths of the training sequences in steps."""
    seeds: Annotated[int, Field(ge=1, le=10_000)]
    """Number of seeds; the first seed is 0."""
    depth: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of layers per model."""
    params: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Parameter budget per model; None if `width` is given."""
    width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    """Width of the layers; None if `params` is given."""
    measure: Annotated[tuple[Probe, ...], Field(min_length=1)] = ("accuracy", "latency", "streaming")
    """Probes to run."""
    protocol: dict[str, Any] = Field(default_factory=dict)
    """Fields of `Protocol` that differ from its defaults."""
    override: tuple[Override, ...] = ()
    """Changes to the protocol. A later override replaces the values of an earlier one."""
    extra: tuple[Extra, ...] = ()
    """Additional grids of cases."""
    claims: tuple[Claim, ...] = ()
    """Claims that a report judges."""
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _claims_name_known_protocol_fields(self) -> Self:
        for claim in self.claims:
            against = claim.against.cases if claim.against is not None else None
            for cases in filter(None, (claim.cases, against)):
                for field in cases.protocol.keys() - Protocol.model_fields.keys():
                    known = ", ".join(Protocol.model_fields)
                    raise ValueError(f"claim {claim.name}: a protocol has no field {field!r}; choose from {known}")
        return self

    def grids(self) -> list[Plan]:
        """Return the plan itself, followed by one plan per extra grid."""
        extras = [
            self.model_copy(
                update={
                    "archs": extra.archs or self.archs,
                    "tasks": extra.tasks or self.tasks,
                    "lengths": extra.lengths or self.lengths,
                    "seeds": min(extra.seeds or self.seeds, self.seeds),
                    "override": (*self.override, Override(protocol=extra.protocol)),
                    "extra": (),
                }
            )
            for extra in self.extra
        ]
        return [self, *extras]

    def protocol_of(self, task: str, length: int) -> Protocol:
        """Return the protocol of one task, given as a spec, at one length in steps.

        Raises `UsageError` if a value is invalid or if values contradict each other.
        """
        fields = dict(self.protocol)
        for override in self.override:
            applies = not override.tasks or task in override.tasks or Spec.parse_stored(task).name in override.tasks
            if applies and (not override.lengths or length in override.lengths):
                fields |= override.protocol
        try:
            protocol = Protocol.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise UsageError(f"invalid protocol: {first_error(error)}") from None
        steps, fixed_set = protocol.steps, (protocol.train_sequences, protocol.epochs)
        if (steps is None) == (None in fixed_set) or (steps is not None and fixed_set != (None, None)):
            raise UsageError("invalid protocol: give either steps, or train_sequences and epochs")
        if protocol.fit_sequences > (protocol.train_sequences or 0):
            raise UsageError(
                f"invalid protocol: fit_sequences ({protocol.fit_sequences:,}) must not exceed "
                f"train_sequences ({protocol.train_sequences or 0:,})"
            )
        if protocol.train_lengths == "up_to" and protocol.steps is None:
            raise UsageError("invalid protocol: train_lengths = 'up_to' needs fresh batches: give steps, not epochs")
        shuffled = "batch" if protocol.train_sequences is None else "train_sequences"
        if protocol.control == "shuffled_targets" and getattr(protocol, shuffled) == 1:
            raise UsageError(
                f"invalid protocol: control = 'shuffled_targets' needs several sequences, but {shuffled} is 1: "
                f"give {shuffled} of at least 2"
            )
        return protocol


def names() -> list[str]:
    """Return the names of the plans that ship with Carousel."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Plan:
    """Load a plan by its name or by the path of a TOML file.

    Raises `UsageError` if the plan is missing, unreadable, too large or invalid, or if one of its protocols is.
    """
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    if path.suffix != ".toml" or not os.path.isfile(path):  # noqa: PTH113  (accepts names of any length)
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise UsageError(
            f"no plan {name!r}{hint}; choose from {', '.join(names())}, or give the path of an existing .toml file"
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"the plan {path} is too large: at most {MAX_FILE_BYTES >> 10} KiB are read")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        plan = Plan.model_validate_json(json.dumps(content))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError(f"invalid plan {path}: {first_error(error)}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"the plan {path} is not valid TOML: {error}") from None
    except TypeError:
        raise UsageError(f"the plan {path} contains a date or time, which no field accepts: remove it") from None
    if (plan.params is None) == (plan.width is None):
        raise UsageError(f"invalid plan {path}: give either params or width")
    _check_overrides(plan, path)
    for grid in plan.grids():
        for task in grid.tasks:
            for length in grid.lengths:
                grid.protocol_of(task, length)
    return plan


def _check_overrides(plan: Plan, path: Path) -> None:
    """Raise `UsageError` if an override names a task or a length that the plan does not have."""
    specs = {spec for grid in plan.grids() for spec in grid.tasks}
    known = specs | {Spec.parse_stored(spec).name for spec in specs}
    lengths = {length for grid in plan.grids() for length in grid.lengths}
    for override in plan.override:
        for task in set(override.tasks) - known:
            raise UsageError(f"invalid plan {path}: an override names the task {task!r}, which the plan does not have")
        for length in set(override.lengths) - lengths:
            raise UsageError(
                f"invalid plan {path}: an override names the length {length}, which the plan does not have"
            )


def first_error(error: ValidationError) -> str:
    """Return the first error that pydantic found, as one line of text."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    field = field.encode("unicode_escape").decode()
    return f"{field}: {first['msg'].lower()}" if field else first["msg"].lower()
