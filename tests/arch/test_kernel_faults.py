"""The kernels' tests are tested: a fault planted in a kernel must make the comparison with the equations fail."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import arch.kernels
from tests.arch import test_block_kernels, test_kernels, test_streaming

SOURCE = Path(arch.kernels.__file__).parent
SIZES = {"batch": 9, "steps": 5, "inputs": 3, "width": 18, "seed": 0}


@dataclass(frozen=True, slots=True)
class Fault:
    file: str
    there: str
    instead: str
    spec: str
    loads: tuple[str, ...] = ()
    """The files that are made of this one, in the order of their imports."""

    def __str__(self) -> str:
        return f"{self.file}: {self.there}"


FAULTS = [
    Fault("rnn", "dh * (splat(1.0) - h * h)", "dh * (splat(1.0) - h)", "rnn"),
    Fault("rnn", "sums, D * padded, h_0, outputs, begin", "sums, D * padded, h_0, h_0, begin", "rnn"),
    Fault("_steps", "outputs, begin - 1, end - 1, B", "outputs, begin, end, B", "rnn", ("rnn",)),
    Fault("lstm", "dc * f)  # (11)", "dc * i)  # (11)", "lstm"),
    Fault("lstm", "dc * c * (f * (one - f))", "dc * i * (f * (one - f))", "lstm"),
    Fault(
        "lstm",
        "(c_0, 0) if t == 0 else (cells, (t - 1) * B * H)\n",
        "(c_0, 0) if t == 0 else (cells, t * B * H)\n",
        "lstm",
    ),
    Fault("gru", "store(d_sums, here + 3 * padded, dn * r)", "store(d_sums, here + 3 * padded, dn)", "gru"),
    Fault("gru", "fused(da, r, load_first(d_h", "fused(da, h, load_first(d_h", "gru:reset=before"),
    Fault("gelu", "fused(x * splat(INVERSE_SQRT_2_PI), bell, below)", "below", "transformer", ("perceptron",)),
    Fault("_norm", "apart * slope) * scale", "apart) * scale", "transformer", ("heads", "perceptron")),
    Fault("heads", "splat(-1.0) if back", "splat(1.0) if back", "transformer"),
    Fault("attention", "top, share = splat(moments[2 * (head * T + t)])", "top, share = splat(0.0)", "transformer"),
    Fault("perceptron", "moments_YM, gain_D, d_z_YD)", "moments_YM, gain_D, d_z_YD * 0)", "transformer"),
]
STREAMING_FAULTS = [
    Fault("_recurrent_step", "fused(z, load_first(h, here, count) - n, n)", "fused(z, n, n)", "gru", ("streaming",)),
    Fault("_block_step", "one * sine + other * cosine", "one * sine - other * cosine", "transformer", ("streaming",)),
    Fault("_rows", "numbers_at + b * apart", "numbers_at", "lstm", ("_recurrent_step", "_block_step", "streaming")),
]


def planted(fault: Fault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's kernels, as they would be with the fault, until the test ends."""
    text = (SOURCE / f"{fault.file}.py").read_text(encoding="utf-8")
    assert text.count(fault.there) == 1, f"{fault.there!r} must stand in {fault.file}.py exactly once"
    _loaded(fault.file, text.replace(fault.there, fault.instead), folder, monkeypatch)
    for name in fault.loads:
        _loaded(name, (SOURCE / f"{name}.py").read_text(encoding="utf-8"), folder, monkeypatch)


def _loaded(name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    specification = importlib.util.spec_from_file_location(f"arch.kernels.{name}", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    importlib.import_module(f"arch.kernels.{name}")
    monkeypatch.setitem(sys.modules, f"arch.kernels.{name}", module)
    monkeypatch.setattr(arch.kernels, name, module)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_in_training_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        if fault.spec == "transformer":
            test_block_kernels.compare(fault.spec, 2, 21, 12)
        else:
            test_kernels.compare(fault.spec, **SIZES)

    _is_caught(check, fault, tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", STREAMING_FAULTS, ids=str)
def test_a_fault_in_streaming_is_caught(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        test_streaming.test_steps_are_the_equations(fault.spec, tokens=False, batch=3)

    _is_caught(check, fault, tmp_path, monkeypatch)


def _is_caught(check: Callable[[], None], fault: Fault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    planted(fault, folder, monkeypatch)
    with pytest.raises(AssertionError):
        check()
