"""torch's global state: plugins change it, and later cases do not notice."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from bench.executors.jobs import TrainingResult, TrainJob
from bench.executors.worker_process import run_job
from bench.plugins.loader import install, load
from bench.plugins.torch_state import GENERATORS, SETTINGS, preserved
from bench.validation import ARCH_CHECKS, checker
from bench.validation.checker import validate_arch
from tests.bench.plugin_files import ARCH, TASK, write
from tests.bench.tiny import tiny_case

CHANGES = {
    "default dtype": "torch.set_default_dtype(torch.float64)",
    "default device": "torch.set_default_device('meta')",
    "number of threads": "torch.set_num_threads(torch.get_num_threads() + 1)",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True, warn_only=True)",
    "cuDNN flags": "torch.backends.cudnn.deterministic = not torch.backends.cudnn.deterministic",
    "gradient mode": "torch.set_grad_enabled(False)",
    "flushing of denormal numbers": "torch.set_flush_denormal(not flushes)",
    "precision of matrix products": "torch.set_float32_matmul_precision('medium')",
    "anomaly detection": "torch.autograd.set_detect_anomaly(True, False)",
    "autocast": "torch.set_autocast_enabled('cpu', True)",
    "kernels of attention": "torch.backends.cuda.enable_math_sdp(False)",
    "hooks of all modules": "torch.nn.modules.module.register_module_forward_hook(lambda *given: None)",
    "filling of uninitialized memory": "torch.utils.deterministic.fill_uninitialized_memory = False",
    "threads of autograd": "torch._C._set_multithreading_enabled(False)",
    "dtype of autocast": "torch.set_autocast_dtype('cpu', torch.float16)",
}
"""For each setting: code that changes it."""

SEEDING = "torch.manual_seed(1); import random; random.seed(1); import numpy; numpy.random.seed(1)"
PREPARATION = "from bench.machine.denormals import flushes_denormals; flushes = flushes_denormals()\n"


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def settings() -> dict[str, object]:
    return {name: setting.read() for name, setting in SETTINGS.items()}


def draws() -> list[float]:
    """Return the next number of each global generator, and leave the generators as they were."""
    import numpy

    with preserved():
        return [torch.rand(()).item(), random.random(), numpy.random.random()]


def test_every_setting_is_changed_here() -> None:
    assert CHANGES.keys() == SETTINGS.keys() and GENERATORS.keys() == {"torch", "CUDA", "Python", "numpy"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_changed_setting_is_restored(name: str) -> None:
    before = settings()
    with preserved():
        exec("import torch\n" + PREPARATION + CHANGES[name])
        assert SETTINGS[name].read() != before[name]
    assert settings() == before


def test_a_setting_that_torch_refuses_to_read_later_is_restored() -> None:
    before, numbers = settings(), draws()
    with preserved():
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
        torch.manual_seed(123)
    assert torch.backends.mkldnn.matmul.fp32_precision == "none"  # type: ignore[attr-defined]
    assert draws() == numbers and settings() == before


def test_generators_are_restored_after_an_exception() -> None:
    before = draws()
    with pytest.raises(KeyError), preserved():
        exec("import torch; " + SEEDING)
        assert draws() != before
        raise KeyError
    assert draws() == before


def at_import(code: str) -> str:
    return ARCH.replace("import torch\n", f"import torch\n{PREPARATION}{code}\n", 1)


def in_constructor(code: str) -> str:
    return PREPARATION + ARCH.replace("        self.width = width\n", f"        self.width = width\n        {code}\n")


@pytest.mark.parametrize("text_of", [at_import, in_constructor])
def test_loading_and_validating_a_plugin_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text_of: Callable[[str], str]
) -> None:
    """Run few of the checks, because anomaly detection makes them slow."""
    few = {name: ARCH_CHECKS[name] for name in ("shapes", "step_equals_scan", "gradients_reach_parameters")}
    monkeypatch.setattr(checker, "ARCH_CHECKS", few)
    lines = [line for name, line in CHANGES.items() if name != "default device"]
    code = "; ".join([*lines, SEEDING])
    before, numbers = settings(), draws()
    loaded = load([write(tmp_path, "scaled", text_of(code))])
    assert loaded.disabled == () and settings() == before and draws() == numbers
    assert [result.check for result in validate_arch("scaled").results] == list(few)
    assert settings() == before


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("text_of", [at_import, in_constructor])
def test_a_plugin_cannot_set_the_default_device(tmp_path: Path, text_of: Callable[[str], str], device: str) -> None:
    """Check the stack of torch's function modes too, because a default device is one of them."""
    before = settings()
    load([write(tmp_path, "scaled", text_of(f"torch.set_default_device({device!r})"))])
    with contextlib.suppress(ValueError):
        validate_arch("scaled")
    assert settings() == before and torch._C._len_torch_function_stack() == 0


def test_loading_a_task_changes_nothing(tmp_path: Path) -> None:
    code = "torch.set_default_dtype(torch.float64); torch.manual_seed(3)"
    text = TASK.replace("        inputs = torch", f"        {code}\n        inputs = torch")
    before, numbers = settings(), draws()
    assert load([write(tmp_path, "first_bit", text)]).disabled == ()
    assert settings() == before and draws() == numbers


def test_a_constructor_cannot_change_the_next_case(tmp_path: Path) -> None:
    plain = load([write(tmp_path, "scaled", ARCH)]).plugins
    jobs = [TrainJob(case=tiny_case(name), plugins=plain) for name in ("scaled", "lstm")]
    expected = [run_job(job, _Connection()) for job in jobs]
    changed = ARCH.replace(
        "        nn.init.constant_",
        "        torch.set_default_dtype(torch.float64)\n        torch.set_num_threads(2)\n        nn.init.constant_",
    )
    plugins = load([write(tmp_path, "scaled", changed)]).plugins
    _, again = (run_job(TrainJob(case=job.case, plugins=plugins), _Connection()) for job in jobs)
    assert isinstance(again, TrainingResult) and isinstance(expected[1], TrainingResult)
    assert again.weights == expected[1].weights
    assert again.record.of("accuracy") == expected[1].record.of("accuracy")


def test_a_layer_that_changes_the_state_while_it_runs_does_not_change_the_next_case(tmp_path: Path) -> None:
    lstm = TrainJob(case=tiny_case("lstm"))
    expected = run_job(lstm, _Connection())
    text = ARCH.replace("        outputs = []\n", "        outputs = []\n        torch.set_num_threads(3)\n")
    plugins = load([write(tmp_path, "scaled", text)]).plugins
    before = settings()
    run_job(TrainJob(case=tiny_case("scaled"), plugins=plugins), _Connection())
    assert settings() == before
    assert run_job(lstm, _Connection()).weights == expected.weights


class _Connection:
    """Connection to nowhere."""

    def send(self, message: object) -> None:
        pass
