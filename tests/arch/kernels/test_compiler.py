"""Without a compiler, the equations run. For another processor, kernels are compiled for that processor.

Numba reads its environment variables when it is imported, so each of these tests starts a process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arch
from arch.kernels.simd.vector import LANES
from tests.arch.kernels.test_cache import SOURCE

HOME = Path(arch.__file__).parents[1]

EQUATIONS = """
import json
import torch
import arch
from arch.kernels import compile_all
from arch.kernels.runtime import compiler
from tests.arch.fused import layer_of

{before}
found = {"seconds": compile_all(), "note": compiler.note(), "describe": compiler.describe()}
layers = [layer_of("lstm", 3, 8, "auto"), arch.get("transformer").layer(8, 8, heads=2)]
for layer, x in zip(layers, (torch.randn(2, 5, 3), torch.randn(2, 5, 8)), strict=True):
    layer.backend = "auto"
    assert layer.backend_for(x) == "reference"
    y = layer(x)
    layer.backend = "reference"
    assert torch.equal(y, layer(x))
    layer.backend = "fused"
    try:
        layer(x)
    except ValueError as error:
        found["error"] = str(error)
    layer.backend = "auto"
for spec in ("rnn", "transformer"):
    model = arch.build(spec, outputs=2, channels=3, width=8, depth=1)
    x = torch.randn(2, 3, 3)
    with torch.no_grad():
        expected, state = model(x), model.init_state(2)
        for t in range(3):
            y, state = model.step(x[:, t], state)
            torch.testing.assert_close(y, expected[:, t])
print(json.dumps(found))
"""


def run(script: str, *folders: Path, **variables: str) -> dict[str, Any]:
    """Return the JSON document that a script prints last. Modules in `folders` precede others of the same name."""
    path = os.pathsep.join(map(str, [*folders, HOME]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONWARNINGS": "error"} | variables
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=HOME, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return document


def expect_equations(found: dict[str, Any], reason: str) -> None:
    assert found["seconds"] == 0
    assert found["note"] == f"the equations run, and no compiled kernels: {reason}"
    assert found["describe"] == f"none, the equations run: {reason}"
    assert found["error"] == f"backend=fused cannot run here: {reason}; use backend=auto"


@pytest.mark.slow
def test_the_equations_run_if_the_compiler_is_switched_off() -> None:
    expect_equations(
        run(EQUATIONS.replace("{before}", ""), NUMBA_DISABLE_JIT="1"), "NUMBA_DISABLE_JIT switches the compiler off"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "error", "message"),
    [
        ("numba", "ImportError", "Numba needs NumPy 2.4 or less. Got NumPy 9.9."),
        ("llvmlite", "OSError", "Could not find/load shared object file: libllvmlite.so"),
    ],
)
def test_the_equations_run_if_numba_cannot_be_imported(tmp_path: Path, package: str, error: str, message: str) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise {error}({message!r} + '\\nand more')")
    expect_equations(
        run(EQUATIONS.replace("{before}", ""), tmp_path), f"Numba cannot be used here ({error}: {message})"
    )


@pytest.mark.slow
def test_the_equations_run_if_a_kernel_cannot_be_compiled() -> None:
    before = "import sys\nsys.modules['arch.kernels.simd.matvec'] = None"
    found = run(EQUATIONS.replace("{before}", before))
    expect_equations(found, found["note"].partition(": ")[2])
    assert "a kernel cannot be compiled (ModuleNotFoundError: " in found["note"]


TARGETS = """
import json
import numpy as np
from arch.kernels.runtime import compiler
from arch.kernels.simd.vector import LANES
import small

numbers = np.arange(1, 6, dtype=np.float32)
small.triple(numbers.ctypes.data, len(numbers))
hits = sum(small.triple.stats.cache_hits.values())
document = {"lanes": LANES, "hits": hits, "numbers": numbers.tolist(), "note": compiler.note()}
code = "" if hits else "".join(small.triple.inspect_asm().values())  # cached code cannot be inspected
print(json.dumps(document | {"registers": [name for name in ("xmm", "ymm", "zmm") if f"%{name}" in code]}))
"""


@pytest.mark.slow
def test_kernels_are_compiled_for_the_processor_that_is_asked_for(tmp_path: Path) -> None:
    """The cache of one processor must not be used for another one."""
    (tmp_path / "small.py").write_text(
        SOURCE.replace("splat(3.0)", "reciprocal(splat(0.25))").replace(
            "import load_first,", "import load_first, reciprocal,"
        )
    )  # without AVX-512, the instruction for a reciprocal does not exist
    generic = run(TARGETS, tmp_path, NUMBA_CPU_NAME="generic")
    assert generic["note"] == "kernels are compiled for the processor generic, which NUMBA_CPU_NAME names"
    without_avx = run(TARGETS, tmp_path, NUMBA_ENABLE_AVX="0")
    native = run(TARGETS, tmp_path)
    assert [found["lanes"] for found in (generic, without_avx, native)] == [8, 8, LANES]
    assert generic["registers"] == ["xmm"]
    for found in (generic, without_avx, native):
        assert found["hits"] == 0
        assert found["numbers"] == pytest.approx([4, 8, 12, 16, 20], rel=1e-6)
    assert native["note"] is None


GENERIC = """
import torch
from tests.arch.fused import assert_same, layer_of

layer, x = layer_of("rnn", 2, 34), torch.randn(9, 6, 2)
results = []
for layer.backend in ("fused", "reference"):
    y = layer(x)
    results.append([y.detach(), *torch.autograd.grad(y.square().sum(), list(layer.parameters()))])
assert_same(*results)
print("{}")
"""


@pytest.mark.slow
def test_kernels_for_a_generic_processor_equal_the_equations() -> None:
    run(GENERIC, NUMBA_CPU_NAME="generic")
