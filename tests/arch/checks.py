"""All tests of an architecture: contract checks at each level, and applicable oracles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import arch
from bench.validation import ARCH_CHECKS, LEVELS, ArchExample, Level
from tests.arch import (
    convolution,
    diagonal,
    matrix_memories,
    mixtures,
    nonlinear,
    oracles,
    softmax,
    state_space,
    transitions,
)
from tests.arch.oracles import name_and_options
from tests.arch.subjects import DIFFERENT, every_spec, trial

CELLS = "compiled_cell"
"""The check of plugins' compiled cells. No built-in architecture has one; tests/bench/validation plants its faults."""
CONTRACT = tuple(check for name, check in ARCH_CHECKS.items() if name != CELLS)
FAMILIES = (
    oracles,
    softmax,
    nonlinear,
    diagonal,
    matrix_memories,
    transitions,
    state_space,
    convolution,
    mixtures,
)
"""The modules that define oracles."""
ORACLES = {check: applies for family in FAMILIES for check, applies in family.ORACLES.items()}


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
    """Yield each contract check for each spec at its levels: one layer, a model of reals, a model of tokens."""
    for check in CONTRACT:
        for spec in every_spec():
            for level in levels_of(spec):
                name = f"{check.__name__}-{spec}-{level}"
                arch = name_and_options(spec)[0]
                yield Check(function=check, arch=arch, name=name, run=partial(_run_on_trial, check, spec, level))


def levels_of(spec: str) -> tuple[Level, ...]:
    """Return the levels at which a spec is checked.

    All architectures share the code of models and of embeddings. So variants are checked as one layer, and few
    architectures as models of tokens.
    """
    if spec in DIFFERENT:
        return tuple(LEVELS)
    return ("layer", "reals") if spec in arch.names() else ("layer",)


def _run_on_trial(check: Callable[[ArchExample], None], spec: str, level: Level) -> None:
    check(trial(spec, level))
