"""Tests of the tests: each planted fault must make a contract check or an oracle fail.

All checks and oracles use the package `subjects.arch`. Each test replaces this package with a copy that has one fault,
or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import arch
from tests.arch import (
    faults_convolution,
    faults_delta,
    faults_diagonal,
    faults_matrix_memories,
    faults_nonlinear,
    faults_state_space,
    subjects,
)
from tests.arch.checks import CONTRACT, ORACLES, contract_checks, oracle_checks
from tests.arch.faults import FAULTS as FIRST_FAULTS
from tests.arch.faults import Fault
from tests.arch.oracles import name_and_options
from tests.arch.rebuilt import SOURCE, rebuilt

CHECKS = [*oracle_checks(), *contract_checks()]
FAMILIES = (
    faults_nonlinear,
    faults_diagonal,
    faults_state_space,
    faults_matrix_memories,
    faults_delta,
    faults_convolution,
)
FAULTS = [*FIRST_FAULTS, *(fault for family in FAMILIES for fault in family.FAULTS)]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (SOURCE / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.original) == 1, f"{fault.file} must contain {fault.original!r} exactly once"
    with rebuilt(tmp_path, {fault.file: source.replace(fault.original, fault.replacement)}) as package:
        monkeypatch.setattr(subjects, "arch", package)
        for spec in subjects.every_spec():
            if name_and_options(spec)[0] == fault.subject:  # a fault that breaks `build` would not test the checks
                assert package.build(spec, channels=1, outputs=1, width=subjects.WIDTH).layers
        assert any(failed_checks(fault.subject, {fault.caught_by})), (
            f"{fault.caught_by.__name__} does not catch the fault"
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({fault.subject for fault in FAULTS}))
def test_the_unchanged_copy_passes_all_checks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rebuilt(tmp_path, {}) as package:
        monkeypatch.setattr(subjects, "arch", package)
        assert list(failed_checks(name, {fault.caught_by for fault in FAULTS if fault.subject == name})) == []


def test_every_fault_changes_text_that_stands_once_in_its_file() -> None:
    stale = [fault for fault in FAULTS if (SOURCE / fault.file).read_text(encoding="utf-8").count(fault.original) != 1]
    assert not [str(fault) for fault in stale]


def test_every_check_and_every_oracle_catches_a_fault() -> None:
    assert {fault.caught_by for fault in FAULTS} == {*CONTRACT, *ORACLES}


def test_the_real_package_is_restored(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {}) as package:
        assert package is not arch
        assert package.get("lstm").layer is not arch.Layer
    assert arch.get("lstm").layer is arch.get("lstm:bias=False").layer
    assert issubclass(arch.get("lstm").layer, arch.Layer)


def failed_checks(name: str, checks: set[Callable[..., None]]) -> Iterator[str]:
    """Yield the names of the checks and oracles in `checks` that an architecture fails.

    Errors other than `AssertionError` and `RuntimeError` propagate.
    """
    for check in CHECKS:
        if check.arch == name and check.function in checks:
            try:
                check.run()
            except (AssertionError, RuntimeError):  # autograd and gradcheck raise RuntimeError
                yield check.name
