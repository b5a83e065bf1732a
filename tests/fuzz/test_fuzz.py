"""A few random programs, and tests of the guarded memory. `python -m tests.fuzz` runs thousands of programs."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import warnings

import pytest
import torch

from arch.core.compiled import program
from tests.fuzz.memory import PAGE, Arena
from tests.fuzz.programs import Difference, Program

PROGRAMS, GROUPS = 48, 4


@pytest.fixture(autouse=True)
def _restore_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the length from which streams pack their weights. Random programs change it."""
    monkeypatch.setattr(program, "MIN_PACKED_STEPS", program.MIN_PACKED_STEPS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", range(GROUPS))
def test_random_programs_agree_with_the_equations(group: int) -> None:
    compared = 0
    for seed in range(group, PROGRAMS, GROUPS):
        compared += Program(seed).run()
    assert compared > PROGRAMS // GROUPS


def test_a_difference_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.programs.TOLERANCE", 0.0)
    with warnings.catch_warnings(), pytest.raises(Difference, match=r"seed \d+: .*differs by"):
        warnings.simplefilter("ignore")
        for seed in range(20):
            Program(seed).run()


@pytest.mark.parametrize("numbers", [1, 5, PAGE // 4, PAGE // 4 + 3])
def test_writing_beside_a_tensor_is_noticed(numbers: int) -> None:
    for beside in (-1, numbers):
        arena = Arena()
        first, second = (arena.place(torch.arange(numbers, dtype=torch.float32)) for _ in range(2))
        assert torch.equal(first, torch.arange(numbers, dtype=torch.float32))
        arena.check()
        placed = first if beside < 0 else second  # the first ends at a guard page, the second starts at one
        if numbers * 4 % PAGE == 0:
            continue  # a guard page on either side
        ctypes.c_float.from_address(placed.data_ptr() + 4 * beside).value = 1.0
        with pytest.raises(AssertionError, match="wrote beside"):
            arena.check()


@pytest.mark.parametrize("place", [0, 1])
def test_reading_a_guard_page_ends_the_process(place: int) -> None:
    program = (
        "import ctypes, torch; from tests.fuzz.memory import Arena; arena = Arena(); "
        "tensors = [arena.place(torch.ones(3)) for _ in range(2)]; "
        f"address = tensors[{place}].data_ptr() + ({12 if place == 0 else -4}); "
        "print(ctypes.c_float.from_address(address).value)"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert child.returncode == -signal.SIGSEGV
