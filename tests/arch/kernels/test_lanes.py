"""Kernels with vectors of 8 numbers, as on a machine without AVX-512, agree with the equations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import arch

WITH_8_LANES = """
import llvmlite.binding
features = llvmlite.binding.get_host_cpu_features()
features.update((name, False) for name in features if "avx512" in name or "amx" in name or "avx10" in name)
llvmlite.binding.get_host_cpu_features = lambda: features
from arch.kernels.simd.vector import LANES
assert LANES == 8
from tests.arch.kernels import test_block, test_streaming, test_training
for spec in test_training.SPECS:
    test_training.compare(spec, 9, 6, 2, 34, 0)
    test_training.compare(spec, 3, 7, 1, 17, 0)
for name in test_training.EXACT:
    test_training.test_stated_error_of_sigmoid_and_tanh(name)
test_training.test_stated_error_of_gelu()
"""
ALL_WITH_8_LANES = f"""{WITH_8_LANES}
from arch.kernels import compile_all
assert isinstance(compile_all(), float) and compile_all() == compile_all()
for spec in test_streaming.SPECS:
    test_streaming.test_steps_equal_the_equations(spec, True, 3)
test_block.compare("transformer", 2, 21, 20)
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(WITH_8_LANES, marks=pytest.mark.slow, id="training of gated networks"),
        pytest.param(ALL_WITH_8_LANES, marks=pytest.mark.long, id="all"),
    ],
)
def test_kernels_with_8_lanes(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(arch.__file__).parents[1])
