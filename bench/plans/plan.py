"""Plans: a named set of cases and probes, written in TOML. The folder `bench/plans/` is the registry."""

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

FOLDER = Path(__file__).parent
STREAMED_SHARE = 5
"""Of several streams together a fifth of the steps is timed: their mean is asked, not their rarest step."""
MAX_FILE_BYTES = 16 << 10
"""The cost of dotted keys is quadratic in the reader of TOML; this much takes it under a second."""

Spec = Annotated[str, Field(min_length=1, max_length=400)]
Length = Annotated[int, Field(ge=1, le=1 << 24)]


class Timing(Strict):
    """How the timing probes measure."""

    positions: Annotated[tuple[Length, ...], Field(min_length=1)] = (1, 16, 128, 1024, 4096)
    """Places in a stream at which a step is timed."""
    steps: Annotated[int, Field(ge=10, le=1_000_000)] = 1000
    """Timed steps at each position, in as many blocks as there are."""
    blocks: Annotated[int, Field(ge=1, le=1000)] = 5
    """Times that everything is measured, the models of a group taking turns."""
    streams: tuple[Annotated[int, Field(ge=1, le=1 << 16)], ...] = (1, 8, 64)
    """How many streams are stepped together, as a batch."""
    streams_position: Length = 128
    """The place in each of those streams."""
    block_seconds: Annotated[float, Field(gt=0, le=60)] = 0.02
    batch: Length = 32

    @property
    def times_one_stream(self) -> bool:
        """Whether a batch of one stream is timed where one stream is timed anyway."""
        return 1 in self.streams and self.streams_position in self.positions


class Override(Strict):
    """What differs for the cases of some tasks or lengths."""

    tasks: tuple[Spec, ...] = ()
    lengths: tuple[Length, ...] = ()
    protocol: dict[str, Any]


class Extra(Strict):
    """Further cases beside the grid; what is left out is as in the grid."""

    archs: tuple[Spec, ...] = ()
    tasks: tuple[Spec, ...] = ()
    lengths: tuple[Length, ...] = ()
    seeds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """The plan's number, or fewer; never more than the plan has."""
    protocol: dict[str, Any] = Field(default_factory=dict)
    """Fields that differ from the plan's protocol."""


class Plan(Strict):
    """A grid of cases and what is measured of each."""

    summary: str
    archs: Annotated[tuple[Spec, ...], Field(min_length=1)]
    tasks: Annotated[tuple[Spec, ...], Field(min_length=1)]
    lengths: Annotated[tuple[Length, ...], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1, le=10_000)]
    depth: Annotated[int, Field(ge=1, le=1000)] = 2
    params: Annotated[int, Field(ge=1, le=2**31)] | None = None
    width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    measure: Annotated[tuple[Probe, ...], Field(min_length=1)] = ("accuracy", "latency", "streaming")
    protocol: dict[str, Any] = Field(default_factory=dict)
    override: tuple[Override, ...] = ()
    extra: tuple[Extra, ...] = ()
    claims: tuple[Claim, ...] = ()
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _claims_are_about_protocols_that_exist(self) -> Self:
        for claim in self.claims:
            against = claim.against.cases if claim.against is not None else None
            for cases in filter(None, (claim.cases, against)):
                for field in cases.protocol.keys() - Protocol.model_fields.keys():
                    raise ValueError(f"claim {claim.name}: a protocol has no {field!r}")
        return self

    def grids(self) -> list[Plan]:
        """The plan's grid, and each of the further ones as a plan of its own."""
        further = [
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
        return [self, *further]

    def protocol_of(self, task: str, length: int) -> Protocol:
        """The protocol of one task at one length. Raises `UsageError` for impossible values."""
        fields = dict(self.protocol)
        for override in self.override:
            named = not override.tasks or task in override.tasks or task.partition(":")[0] in override.tasks
            if named and (not override.lengths or length in override.lengths):
                fields |= override.protocol
        try:
            protocol = Protocol.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise UsageError(f"the plan's protocol: {first_line(error)}") from None
        fresh, fixed = protocol.steps, (protocol.train_sequences, protocol.epochs)
        if (fresh is None) == (None in fixed) or (fresh is not None and fixed != (None, None)):
            raise UsageError("the plan's protocol must give steps, or train_sequences and epochs")
        if protocol.fit_sequences > (protocol.train_sequences or 0):
            raise UsageError("the plan's protocol: fit_sequences are some of train_sequences, and cannot be more")
        if protocol.train_lengths == "up_to" and protocol.steps is None:
            raise UsageError("the plan's protocol: train_lengths = up_to needs fresh batches; give steps")
        return protocol


def names() -> list[str]:
    """The plans that ship with Carousel."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Plan:
    """The plan of that name, or in that TOML file. Raises `UsageError`."""
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    if path.suffix != ".toml" or not os.path.isfile(path):  # noqa: PTH113  (it takes any name, however long)
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no plan {name!r}{hint}; there are {', '.join(names())}, or give a .toml file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UsageError(f"the plan {path} is larger than {MAX_FILE_BYTES >> 10} KiB")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        plan = Plan.model_validate_json(json.dumps(content))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError(f"the plan {path}: {first_line(error)}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or an integer of thousands of digits
        raise UsageError(f"the plan {path} is not TOML that can be read: {error}") from None
    except TypeError:
        raise UsageError(f"the plan {path} holds a date or time, which no field of a plan takes") from None
    if (plan.params is None) == (plan.width is None):
        raise UsageError(f"the plan {path} must give either params or width")
    _check_overrides(plan, path)
    return plan


def _check_overrides(plan: Plan, path: Path) -> None:
    """Raises `UsageError` for an override that no case of the whole plan meets."""
    specs = {spec for grid in plan.grids() for spec in grid.tasks}
    known = specs | {spec.partition(":")[0] for spec in specs}
    lengths = {length for grid in plan.grids() for length in grid.lengths}
    for override in plan.override:
        for task in set(override.tasks) - known:
            raise UsageError(f"the plan {path}: override names the task {task!r}, which is not in the plan")
        for length in set(override.lengths) - lengths:
            raise UsageError(f"the plan {path}: override names the length {length}, which is not in the plan")


def first_line(error: ValidationError) -> str:
    """What pydantic says first, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    where = where.encode("unicode_escape").decode()
    return f"{where}: {first['msg'].lower()}" if where else first["msg"].lower()
