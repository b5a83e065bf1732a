"""The schema of `run.json`: one execution of a plan on one machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from results.schema.base import Count, Key, Name, Size, Strict, Text
from results.schema.case import Case
from results.schema.claims import Claim
from results.schema.record import First, Probe


class Environment(Strict):
    """The machine and the software that measured, with nothing that names a person or a host."""

    cpu: Text
    cores: Size
    memory_bytes: Count
    system: Text
    python: Text
    torch: Text
    device: Text
    packages: dict[Name, Text] = Field(default_factory=dict)
    host: Name | None = None
    """A digest that tells machines apart and names none."""
    threads: Size | None = None
    """Threads that timed code could use."""
    caches: dict[Name, Count] = Field(default_factory=dict)
    """Bytes of each level that one core sees, such as `L2`."""
    blas: Text | None = None
    onednn: Text | None = None
    instructions: Text | None = None
    """The widest vector instructions that torch uses here."""
    governor: Text | None = None
    virtual: Text | None = None
    """`container`, `virtual machine`, both, or `none` where neither was found."""


class RunFile(Strict):
    """`run.json`: what was planned, how, where, and by which code."""

    schema_version: Literal[3] = 3
    id: Key
    plan: Name
    plan_digest: Name
    command: Text
    code: Name
    """Digest of the source files that measured."""
    commit: Name | None = None
    """The commit of Carousel's repository, where it ran from one."""
    modified: bool | None = None
    """Whether files differed from that commit."""
    plugins: dict[Name, Name] = Field(default_factory=dict)
    """Digest of each file that added an architecture or a task, by its name."""
    environment: Environment
    cases: Annotated[tuple[Case, ...], First]
    probes: tuple[Probe, ...]
    claims: Annotated[tuple[Claim, ...], First] = ()
    """What the plan expects to find, judged by the ledger."""
    workers: Size
    repeat: Size = 1
    """Fresh processes in which every timing is to be taken."""
    created: Text
    finished: Text | None = None
