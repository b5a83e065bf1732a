"""All tests of an architecture: contract checks at each level, and applicable oracles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.validation import ARCH_CHECKS, LEVELS, ArchExample, Level
from tests.arch import matrix_memories, oracles, softmax, transitions
from tests.arch.oracles import name_and_options
from tests.arch.subjects import every_spec, trial

CELLS = "compiled_cell"
"""The check of plugins' compiled cells. No built-in architecture has one; tests/bench/validation plants its faults."""
CONTRACT = tuple(check for name, check in ARCH_CHECKS.items() if name != CELLS)
ORACLES = oracles.ORACLES | softmax.ORACLES | matrix_memories.ORACLES | transitions.ORACLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One contract check or oracle for one spec. `run` raises an error if the check fails."""

    function: Callable[..., None]
    """The contract check or oracle."""
    arch: str
    """The architecture's name."""
    name: str
    """The test id."""
    run: Callable[[], Any]

    def __str__(self) -> str:
        return self.name


def oracle_checks() -> Iterator[Check]:
    """Yield each oracle for each spec that it applies to."""
    for oracle, applies in ORACLES.items():
        for spec in every_spec():
            name, options = name_and_options(spec)
            if applies(name, options):
                yield Check(function=oracle, arch=name, name=f"{oracle.__name__}-{spec}", run=partial(oracle, spec))


def contract_checks() -> Iterator[Check]:
    """Yield each contract check for each spec at each level: one layer, a model of reals, a model of tokens."""
    for check in CONTRACT:
        for spec in every_spec():
            for level in LEVELS:
                name = f"{check.__name__}-{spec}-{level}"
                arch = name_and_options(spec)[0]
                yield Check(function=check, arch=arch, name=name, run=partial(_run_on_trial, check, spec, level))


def _run_on_trial(check: Callable[[ArchExample], None], spec: str, level: Level) -> None:
    check(trial(spec, level))
