"""The schema of `run.json`, which describes one execution of a plan."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from results.schema.base import Count, Key, Name, Size, Strict, Text
from results.schema.case import Case
from results.schema.claims import Claim
from results.schema.probes import Probe
from results.schema.record import FAIL_FAST


class Environment(Strict):
    """The hardware and software of a measurement. No field identifies a person or a host by name."""

    cpu: Text
    cores: Size
    memory_bytes: Count
    system: Text
    python: Text
    torch: Text
    device: Text
    packages: dict[Name, Text] = Field(default_factory=dict)
    host: Name | None = None
    """Digest that distinguishes machines without revealing their names."""
    threads: Size | None = None
    """Threads available to timed code."""
    caches: dict[Name, Count] = Field(default_factory=dict)
    """Size in bytes of each cache level that one core can use, by name, such as `L2`."""
    blas: Text | None = None
    onednn: Text | None = None
    instructions: Text | None = None
    """Widest vector instruction set that torch uses on this machine."""
    governor: Text | None = None
    virtual: Text | None = None
    """`container`, `virtual machine`, `container in a virtual machine`, or `none`; None if unknown."""
    kernels: Text | None = None
    """Processor and vector width for which kernels are compiled, or `none` if the equations run."""
    numpy_blas: Text | None = None
    """Matrix library of NumPy; `blas` is that of torch."""
    cuda: Text | None = None
    """Versions of CUDA and cuDNN in torch; None if the device is a CPU."""
    settings: dict[Name, Text] = Field(default_factory=dict)
    """Environment variables that select instructions or change compiled code, if they are set."""


Side = Literal["base", "new"]
"""One of two runs that are compared."""


class Turns(Strict):
    """How a run was measured in turns with a run of another version."""

    side: Side
    """Which of the two runs this is."""
    other: Key
    """Id of the other run."""
    new_first: Annotated[tuple[bool, ...], FAIL_FAST]
    """For each pair of processes that was planned, whether the process of the new version ran first."""


class RunFile(Strict):
    """The content of `run.json`: the plan with its cases, the environment and the code version."""

    schema_version: Literal[8] = 8
    id: Key
    plan: Name
    plan_digest: Name
    command: Text
    code: Name
    """Digest of Carousel's source files."""
    commit: Name | None = None
    """Commit of Carousel's repository; None if Carousel did not run from a checkout."""
    modified: bool | None = None
    """Whether the measuring code in the checkout differed from `commit`; None without a checkout."""
    plugins: dict[Name, Name] = Field(default_factory=dict)
    """Digest of each plugin file by file name."""
    environment: Environment
    cases: Annotated[tuple[Case, ...], FAIL_FAST]
    probes: tuple[Probe, ...]
    claims: Annotated[tuple[Claim, ...], FAIL_FAST] = ()
    """Claims of the plan, judged in the ledger of the report."""
    workers: Size
    """Number of training workers."""
    repeat: Size = 1
    """Number of fresh processes in which every timing is repeated."""
    created: Text
    finished: Text | None = None
    after: Annotated[tuple[Name, ...], FAIL_FAST] = ()
    """Ids of the runs of the store that had ended last when this run finished (see `results/schema/order.py`)."""
    turns: Turns | None = None
    """How the run was measured in turns with another run; None if it was measured by itself."""
    renamed: dict[Name, Name] = Field(default_factory=dict)
    """New names of architectures and tasks by the names that they have in older runs, as the plan gives them."""

    @property
    def reported_cases(self) -> tuple[Case, ...]:
        """The cases whose results are reported, in the order of the plan."""
        return tuple(case for case in self.cases if case.is_reported)

    @property
    def tuning_cases(self) -> tuple[Case, ...]:
        """The cases that only serve to choose learning rates."""
        return tuple(case for case in self.cases if not case.is_reported)
