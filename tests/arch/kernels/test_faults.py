"""Tests of the kernel tests: with a planted fault, the comparison with the equations must fail.

Compiling takes long. So a faulty kernel of a whole model has only the layers that its model needs, and the kernels of
a module that a fault does not touch are used as they are. Half of the faults in streaming are planted by
`tox -e faults` only.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import arch
import arch.kernels
from arch.kernels.runtime import jit
from arch.kernels.streaming import model_step
from tests.arch.kernels import (
    test_block,
    test_matrix_memory,
    test_normaliser,
    test_projection,
    test_stabilised_gates,
    test_state_space,
    test_stream,
    test_streaming,
    test_training,
)

slow, long = pytest.mark.slow, pytest.mark.long  # each fault compiles kernels again

SOURCE = Path(arch.kernels.__file__).parent
SIZES = {"batch": 9, "steps": 5, "inputs": 3, "width": 18, "seed": 0}


@dataclass(frozen=True, slots=True)
class Fault:
    file: str
    there: str
    instead: str
    spec: str
    loads: tuple[str, ...] = ()
    """Modules that import the faulty module, in import order."""
    is_long: bool = False
    """Whether the fault is planted by `tox -e faults` only."""

    def __str__(self) -> str:
        return f"{self.file}: {self.there}"


BLOCK = ("training.residual_mlp", "training.mlp")
SELECTIVE, DUAL = ("training.state_space.selective_scan",), ("training.heads.dual_scan",)
FAULTS = [
    Fault("training.rnn", "dh * (splat(1.0) - h * h)", "dh * (splat(1.0) - h)", "rnn"),
    Fault("training.rnn", "sums, D * padded, h_0, outputs, H", "sums, D * padded, h_0, h_0, H", "rnn"),
    Fault("training.chunked", "Chunk(begin - 1, end - 1, B", "Chunk(begin, end, B", "rnn", ("training.rnn",)),
    Fault("training.lstm", "dc * f)  # (11)", "dc * i)  # (11)", "lstm"),
    Fault("training.lstm", "dc * c * (f * (one - f))", "dc * i * (f * (one - f))", "lstm"),
    Fault(
        "training.lstm",
        "(c_0, 0) if t == 0 else (cells, (t - 1) * B * H)\n",
        "(c_0, 0) if t == 0 else (cells, t * B * H)\n",
        "lstm",
    ),
    Fault("training.gru", "store(d_sums, here + 3 * padded, dn * r)", "store(d_sums, here + 3 * padded, dn)", "gru"),
    Fault("training.gru_before", "fma(da, r, load_first(d_h", "fma(da, h, load_first(d_h", "gru:reset=before"),
    Fault("simd.activation", "fma(x * splat(INVERSE_SQRT_2_PI), bell, below)", "below", "transformer", BLOCK),
    Fault(
        "training.layer_norm",
        "apart * slope) * scale",
        "apart) * scale",
        "transformer",
        ("training.qkv", *BLOCK),
    ),
    Fault("training.qkv", "splat(-1.0) if back", "splat(1.0) if back", "transformer"),
    Fault(
        "training.attention",
        "top, share = splat(moments[2 * (head * T + t)])",
        "top, share = splat(0.0)",
        "transformer",
    ),
    Fault(
        "training.residual_mlp", "scale, gain, True, d_z", "scale, gain, False, d_z", "transformer", ("training.mlp",)
    ),
    Fault("training.state_space.selective_parts", "fma(-least, dh, earlier)", "dh", "mamba", SELECTIVE),
    Fault(
        "training.state_space.selective_parts",
        "fma(-least, dh, earlier)",
        "earlier",
        "mamba:states=17,negative=True",
        SELECTIVE,
    ),
    Fault(
        "training.state_space.selective_parts",
        "h[1] * splat(maps[at + 1])",
        "h[1] * splat(maps[at])",
        "mamba",
        SELECTIVE,
    ),
    Fault("training.state_space.selective_scan", "chunks + chunk - 1) * panels", "chunks + chunk) * panels", "mamba"),
    Fault("training.short_convolution", "fma(w_3, dc_0, w_2 * dc_1)", "fma(w_3, dc_1, w_2 * dc_1)", "mamba"),
    Fault(
        "training.state_space.structured_parts",
        "fma(a[0], dh_i, -a[1] * dh)",
        "fma(a[0], dh_i, a[1] * dh)",
        "s4d",
        ("training.state_space.structured_scan",),
    ),
    Fault("training.state_space.discretisation", "step * dv - db_A * back", "step * dv", "s4d"),
    Fault(
        "training.heads.stabilised_gates",
        "through_f + (dm - of_input), through_i",
        "through_f + dm, through_i",
        "stabilised gates",
    ),
    Fault("training.heads.normaliser", "least > size else size", "least < size else size", "normaliser"),
    Fault("training.heads.normaliser", "slope * share * of_divisor", "share * of_divisor", "normaliser"),
    Fault("training.heads.projection", "smaller(r, splat(1.0))", "splat(1.0)", "projection"),
    Fault("training.heads.projection", "r[to + numbers] = np.float32(1)", "r[to + numbers] = p[0]", "projection"),
    Fault("training.heads.projection", "splat(-1.0))  # (3)", "splat(1.0))  # (3)", "rotating projection"),
    Fault("training.gated_norm", "(share * (splat(1.0) - share))", "share", "sigmoid gate"),
    Fault("training.linear_units.lru", "left) * gate\n", "left)\n", "lru"),
    Fault(
        "training.linear_units.lru_parts",
        "fma(re_a, d_im, -im_a * d_re)",
        "fma(re_a, d_im, im_a * d_re)",
        "lru",
        ("training.linear_units.lru",),
    ),
    Fault("training.linear_units.rg_lru", "load(du, at) + load(product, at)", "load(du, at)", "rg_lru"),
    Fault(
        "training.linear_units.rg_lru_parts",
        "fma(w_2, load(du, here + apart)",
        "fma(w_1, load(du, here + apart)",
        "rg_lru",
        ("training.linear_units.rg_lru",),
    ),
    Fault("training.heads.token_mix", "(dx - through_last))  # (6)", "dx)  # (6)", "rwkv7"),
    Fault(
        "training.heads.token_mix_parts",
        "of_alpha * of_k * of_new - kappa * of_q",
        "of_alpha * of_k * of_new",
        "rwkv7",
        ("training.heads.token_mix",),
    ),
    Fault("training.heads.bonus", "weight * of_k", "weight * of_r", "rwkv7"),
    Fault("training.heads.dual_parts", "a * dS_3), dx", "dS_3), dx", "mamba2", DUAL),
    Fault("training.heads.dual_parts", "fma(a_2, h, x_2", "fma(a_2, h, x_1", "mamba2", DUAL),
    Fault("training.matrix_memory", "strength * of_value)  # (5)", "of_value)  # (5)", "matrix memory"),
    Fault("training.matrix_memory", "d_s[step] = lane_sum(of_strength)", "d_s[step] = 0", "matrix memory"),
]
PROGRAM = ("streaming.model_step",)
BRANCH = re.compile(
    r"^(?P<condition> {8}(?:if|elif) kind == (?P<kind>[A-Z_]+)(?: and packed != 0)?:\n)(?:^ {12}.*\n)+", re.MULTILINE
)
"""What `model_step` does for one kind of layer."""
STREAMING_FAULTS = [
    Fault(
        "cells.gated",
        "return r, z, n, fma(z, h - n, n)",
        "return r, z, n, fma(z, n, n)",
        "gru",
        ("streaming.recurrent_step", "streaming.model_step"),
    ),
    Fault(
        "streaming.recurrent_step",
        "row_sums(U, split * R, count, h, h_at, R)",
        "row_sums(U, split * R, count, h, 0, R)",
        "gru",
        ("streaming.model_step",),
    ),
    Fault("streaming.packed_step", "cell(sums[:last] + split", "cell(sums[:last] + of_h[1:]", "gru", PROGRAM, True),
    Fault("streaming.packed_step", "numbers[numbers_at + depth - 1]", "numbers[numbers_at]", "lstm", PROGRAM, True),
    Fault("streaming.model_step", "x, y = y, x", "pass", "lstm"),
    Fault("streaming.model_step", "state[POSITION] += 1", "state[POSITION] += 2", "transformer", is_long=True),
    Fault(
        "streaming.block_step",
        "swap_pairs(pairs) * load_first(rotary, K + k, K - k)",
        "pairs * load_first(rotary, K + k, K - k)",
        "transformer",
        PROGRAM,
    ),
    Fault(
        "simd.panels",
        "store_first(results, to + two_at, rows - two_at, two)",
        "store_first(results, to + two_at, rows - two_at, one)",
        "rnn",
        ("streaming.packed_step", *PROGRAM),
        is_long=True,
    ),
    Fault("streaming.packed_step", "packed + packed_bytes(2 * H, H)", "packed", "gru:reset=before", PROGRAM),
    Fault(
        "streaming.attention_step",
        "fma(splat(numbers[row])",
        "fma(splat(numbers[0])",
        "transformer",
        ("streaming.block_step", *PROGRAM),
        is_long=True,
    ),
    Fault(
        "simd.matvec",
        "numbers_at + b * apart",
        "numbers_at",
        "lstm",
        ("streaming.recurrent_step", "streaming.block_step", "streaming.model_step"),
        is_long=True,
    ),
]


def planted(fault: Fault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the faulty module, then the modules in `fault.loads`, for the rest of the test."""
    text = source_of(fault.file, fault.spec)
    assert text.count(fault.there) == 1, f"{fault.there!r} must stand in {fault.file}.py exactly once"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jit, "kernel", reusing_kernels(fault, text))
        _loaded(fault.file, text.replace(fault.there, fault.instead), folder, monkeypatch)
    for name in fault.loads:
        _loaded(name, source_of(name, fault.spec), folder, monkeypatch)


def reusing_kernels(fault: Fault, text: str) -> Callable[..., Any]:
    """Return a decorator like `jit.kernel`, which does not compile the other kernels if the fault lies in one.

    If the fault lies in a function that kernels call, the decorator compiles all kernels.
    """
    line = text[: text.index(fault.there)].count("\n") + 1
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    touched = {node.name for node in functions if node.lineno <= line <= (node.end_lineno or 0)}
    kernels = {node.name for node in functions if "kernel(" in "".join(map(ast.unparse, node.decorator_list))}
    correct, compiling = importlib.import_module(f"arch.kernels.{fault.file}"), jit.kernel

    def kernel(*args: Any, **options: Any) -> Callable[..., Any]:
        def reuse_or_compile(function: Callable[..., Any]) -> Callable[..., Any]:
            if touched <= kernels and function.__name__ not in touched:
                return getattr(correct, function.__name__)  # type: ignore[no-any-return]
            return compiling(*args, **options)(function)

        return reuse_or_compile

    return kernel


def source_of(name: str, spec: str) -> str:
    """Return the source of a module, as far as a model of `spec` needs it."""
    text = (SOURCE / path_of(name)).read_text(encoding="utf-8")
    return with_layers_of(spec, text) if name == "streaming.model_step" else text


def with_layers_of(spec: str, text: str) -> str:
    """Return the source of `model_step`, but let it pass over kinds of layer that a model of `spec` does not have."""
    layers = arch.build(spec, channels=1, outputs=1, width=4).layers
    kinds = {model_step.KINDS[described.kind] for layer in layers if (described := layer.streaming_spec()) is not None}
    assert kinds

    def kept(branch: re.Match[str]) -> str:
        is_needed = getattr(model_step, branch["kind"]) in kinds
        return branch[0] if is_needed else f"{branch['condition']}            pass\n"

    return BRANCH.sub(kept, text)


def path_of(name: str) -> str:
    return f"{name.replace('.', '/')}.py"


def _loaded(name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    specification = importlib.util.spec_from_file_location(f"arch.kernels.{name}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    importlib.import_module(f"arch.kernels.{name}")
    monkeypatch.setitem(sys.modules, f"arch.kernels.{name}", module)
    package, _, leaf = name.rpartition(".")
    monkeypatch.setattr(importlib.import_module(f"arch.kernels.{package}"), leaf, module)
    specification.loader.exec_module(module)
    return module


@slow
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_in_training_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        if fault.spec == "transformer":
            test_block.compare(fault.spec, 2, 21, 12)
        elif fault.spec in test_state_space.SPECS:
            test_state_space.compare(fault.spec, 2, 21, 12)
        elif fault.spec == "lru":
            test_training.compare("lru", batch=9, steps=20, inputs=18, width=18, seed=0)
        elif fault.spec == "rg_lru":
            test_training.compare("rg_lru", batch=9, steps=20, inputs=3, width=18, seed=0)
        elif fault.spec == "projection":
            test_projection.test_parts_and_gradients_equal_the_equations("split", True, (3, 50, 28))
        elif fault.spec == "stabilised gates":
            test_stabilised_gates.test_gates_and_gradients_equal_the_equations((9, 40, 2))
        elif fault.spec == "normaliser":
            test_normaliser.test_results_and_gradients_equal_the_equations("least", (2, 7, 3, 14))
        elif fault.spec in test_matrix_memory.LAYERS:
            test_matrix_memory.test_gradients_of_layers_equal_the_equations(fault.spec)
        elif fault.spec == "sigmoid gate":
            test_matrix_memory.test_norms_of_heads_equal_the_equations((2, 5, 3, 17), "group", "sigmoid")
        elif fault.spec == "rotating projection":
            test_projection.test_parts_and_gradients_equal_the_equations("rotating", True, (3, 50, 28))
        elif fault.spec == "matrix memory":
            test_matrix_memory.test_reads_and_gradients_equal_the_equations("head replaced scaled", (3, 20, 2, 16, 16))
        else:
            test_training.compare(fault.spec, **SIZES)

    _is_caught(check, fault, tmp_path, monkeypatch)


@slow
def test_kernels_without_a_fault_pass_if_other_layers_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("streaming.model_step", "gru")
    assert "gru_step(D" in source and "lstm_step(D" not in source and "block_step(sizes" not in source
    _loaded("streaming.model_step", source, tmp_path, monkeypatch)
    check_streaming("gru")


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=long if fault.is_long else slow, id=str(fault)) for fault in STREAMING_FAULTS]
)
def test_a_fault_in_streaming_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _is_caught(lambda: check_streaming(fault.spec), fault, tmp_path, monkeypatch)


def check_streaming(spec: str) -> None:
    test_streaming.test_steps_equal_the_equations(spec, tokens=False, batch=3)
    test_stream.test_a_stream_equals_the_equations(spec, tokens=False, batch=3)
    if spec in test_stream.PACKED_SPECS:
        test_stream.test_a_stream_with_packed_weights_equals_the_equations(spec, 33, 3)


def _is_caught(check: Callable[[], None], fault: Fault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    planted(fault, folder, monkeypatch)
    with pytest.raises(AssertionError):
        check()
