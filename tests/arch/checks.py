"""Every check that an architecture is put through: the laws at each level, and the oracles that are its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.validation import ARCH_CHECKS, LEVELS, ArchExample, Level
from tests.arch import oracles, softmax
from tests.arch.oracles import chosen
from tests.arch.subjects import every_spec, trial

CONTRACT = tuple(ARCH_CHECKS.values())
ORACLES = oracles.ORACLES | softmax.ORACLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One law or oracle for one spec; `run` raises where it is broken."""

    of: Callable[..., None]
    """The law or the oracle."""
    arch: str
    """The architecture's name."""
    name: str
    run: Callable[[], Any]

    def __str__(self) -> str:
        return self.name


def oracle_checks() -> Iterator[Check]:
    """Every oracle for every spec that it knows."""
    for oracle, knows in ORACLES.items():
        for spec in every_spec():
            name, options = chosen(spec)
            if knows(name, options):
                yield Check(of=oracle, arch=name, name=f"{oracle.__name__}-{spec}", run=partial(oracle, spec))


def contract_checks() -> Iterator[Check]:
    """Every law for every spec at every level."""
    for law in CONTRACT:
        for spec in every_spec():
            for level in LEVELS:
                name = f"{law.__name__}-{spec}-{level}"
                yield Check(of=law, arch=chosen(spec)[0], name=name, run=partial(_hold, law, spec, level))


def _hold(law: Callable[[ArchExample], None], spec: str, level: Level) -> None:
    law(trial(spec, level))
