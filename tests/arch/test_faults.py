"""The tests are tested: faults are planted in the architectures one at a time, and each must be caught.

The faulty package is built anew and put through the same laws and oracles as the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import arch
from tests.arch import subjects
from tests.arch.checks import CONTRACT, ORACLES, contract_checks, oracle_checks
from tests.arch.faults import FAULTS, Fault
from tests.arch.rebuilt import SOURCE, rebuilt

CHECKS = [*oracle_checks(), *contract_checks()]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fault_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (SOURCE / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.there) == 1, f"{fault.there!r} must stand in {fault.file} exactly once"
    with rebuilt(tmp_path, {fault.file: source.replace(fault.there, fault.instead)}) as package:
        monkeypatch.setattr(subjects, "arch", package)
        for spec in subjects.every_spec():  # a fault that cannot even be built would be no test of the checks
            assert package.build(spec, channels=1, outputs=1, width=subjects.WIDTH).layers
        assert any(broken(fault.subject, {fault.caught_by})), f"{fault.caught_by.__name__} does not catch it"


@pytest.mark.parametrize("name", sorted({fault.subject for fault in FAULTS}))
def test_the_unchanged_source_breaks_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rebuilt(tmp_path, {}) as package:
        monkeypatch.setattr(subjects, "arch", package)
        assert list(broken(name, {fault.caught_by for fault in FAULTS if fault.subject == name})) == []


def test_every_law_and_every_oracle_catches_some_fault() -> None:
    assert {fault.caught_by for fault in FAULTS} == {*CONTRACT, *ORACLES}


def test_the_real_package_is_back_afterwards(tmp_path: Path) -> None:
    with rebuilt(tmp_path, {}) as package:
        assert package is not arch
        assert package.get("lstm").layer is not arch.Layer
    assert arch.get("lstm").layer is arch.get("lstm:bias=False").layer
    assert issubclass(arch.get("lstm").layer, arch.Layer)


def broken(name: str, checks: set[Callable[..., None]]) -> Iterator[str]:
    """Which of these laws and oracles an architecture breaks. An error of another kind is let through."""
    for check in CHECKS:
        if check.arch == name and check.of in checks:
            try:
                check.run()
            except (AssertionError, RuntimeError):  # autograd and gradcheck complain with the latter
                yield check.name
