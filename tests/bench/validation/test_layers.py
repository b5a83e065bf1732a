"""Correct layers of unusual kinds pass every check, and each kind of faulty state or lost precision is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
from bench.commands.validate import validate_names
from bench.plugins.loader import install, load
from bench.validation import ARCH_CHECKS, ArchExample, CheckFailed, Level, checker
from bench.validation.checker import validate_arch, validate_task
from bench.validation.examples import changed_inputs
from tests.bench.plugin_files import ARCH, TASK, write

MEMBER = "        self.linear"
UPDATE = "h_BH = (self.linear(x_BD) + 0.5 * state).tanh()"

CONVOLUTION = '''"""{name}: a causal convolution with small gains, as in S4 and Hyena."""

import torch
from torch import nn

from arch import Layer


class Convolution(Layer):
    """`taps`  the number of inputs that an output reads."""

    def __init__(self, inputs: int, width: int, *, taps: int = 4, gain: float = 1e-5) -> None:
        super().__init__()
        self.width, self.taps, self.gain = width, taps, gain
        self.linear = nn.Linear(inputs, width)
        self.kernel = nn.Parameter(torch.rand(taps, width) * 1e-3)

    def init_state(self, batch):
        return self.empty(batch, self.taps - 1, self.width)

    def step(self, x_BD, state):
        y_BTH, state = self.scan(x_BD[:, None], state)
        return y_BTH[:, 0], state

    def scan(self, x_BTD, state):
        inputs = torch.cat([state, self.linear(x_BTD)], 1)
        T = x_BTD.shape[1]
        y = sum(self.kernel[i] * inputs[:, self.taps - 1 - i : self.taps - 1 - i + T] for i in range(self.taps))
        return self.gain * y, inputs[:, inputs.shape[1] - (self.taps - 1) :]
'''

COMPLEX = '''"""{name}: a diagonal linear recurrence with complex states and parameters, as in the LRU."""

import torch
from torch import nn

from arch import Layer


class Diagonal(Layer):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.phase = nn.Parameter(torch.linspace(0.1, 3, width))
        self.decay = nn.Parameter(torch.zeros(width))
        self.B = nn.Parameter(torch.randn(inputs, width, dtype=torch.complex64) / inputs)
        self.C = nn.Parameter(torch.randn(width, width, dtype=torch.complex64) / width)
        self.register_buffer("unit", torch.ones(width, dtype=torch.complex64))

    def init_state(self, batch):
        return torch.zeros(batch, self.width, dtype=self.B.dtype, device=self.B.device)

    def step(self, x_BD, state):
        state = torch.polar(self.decay.sigmoid(), self.phase) * self.unit * state + x_BD.to(self.B.dtype) @ self.B
        return (state @ self.C).real, state

    def scan(self, x_BTD, state):
        outputs = []
        for x_BD in x_BTD.unbind(1):
            y_BH, state = self.step(x_BD, state)
            outputs.append(y_BH)
        return torch.stack(outputs, 1), state
'''

UPDATED = "return h_BH, h_BH"
EMPTY = "return self.empty(batch, self.width)\n"


def updated(update: str, returned: str = UPDATED) -> str:
    """Return the plugin with another equation, and possibly another output and state."""
    assert ARCH.count(UPDATE) == ARCH.count(UPDATED) == 1
    return ARCH.replace(UPDATE, update).replace(UPDATED, returned)


def with_parameter(text: str, line: str) -> str:
    return text.replace("        nn.init.constant_", f"        {line}\n        nn.init.constant_")


CORRECT = {
    "convolution with small gains": CONVOLUTION,
    "long convolution": CONVOLUTION.replace("taps: int = 4", "taps: int = 30"),
    "complex": COMPLEX,
    "dropout inside": ARCH.replace("self.linear(x_BD)", "nn.functional.dropout(self.linear(x_BD), 0.5, self.training)"),
    "noise": updated(UPDATE + " + torch.randn(self.width).to(x_BD) * self.training"),
    "learned noise": with_parameter(
        updated(UPDATE + " + torch.randn(self.width).to(x_BD) * self.size * self.training"),
        "self.size = nn.Parameter(torch.ones(width))",
    ),
    "tiny gains": updated("h_BH = 1e-6 * (self.linear(x_BD) + 0.5 * state)", "return h_BH, 1e6 * h_BH"),
    "minute gains": updated("h_BH = 1e-20 * (self.linear(x_BD) + 0.5e20 * state)"),
    "large gains": updated("h_BH = (20 * self.linear(x_BD) + 0.5 * state).tanh()"),
    "large outputs": updated("h_BH = 1e8 * self.linear(x_BD) + 0.5 * state"),
    "rectified": updated(UPDATE.replace("tanh", "relu")),
    "mostly delayed": updated(UPDATE, "return state + 1e-9 * h_BH, h_BH"),
    "without gradient of the input": updated(UPDATE, "return h_BH + x_BD.sign().sum(1, keepdim=True), h_BH"),
    "a number and nested containers": updated(
        f"state, (count, _) = state['a']\n        {UPDATE}", "return h_BH, {'a': [h_BH, (count + 1, None)]}"
    ).replace(EMPTY, "return {'a': [self.empty(batch, self.width), (0, None)]}\n"),
    "a shared weight": ARCH.replace(
        "    def init_state",
        "    @classmethod\n    def stack(cls, inputs, width, depth, **options):\n"
        "        layer = cls(width, width, **options)\n"
        "        return [cls(inputs, width, **options), *[layer] * (depth - 1)]\n\n    def init_state",
    ),
}


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


@pytest.mark.slow
@pytest.mark.parametrize("text", CORRECT.values(), ids=CORRECT)
def test_a_correct_layer_passes_every_check(tmp_path: Path, text: str) -> None:
    assert load([write(tmp_path, "scaled", text)]).disabled == ()
    levels: tuple[Level, ...] = ("layer", "tokens")
    for name, check in ARCH_CHECKS.items():
        steps = {"long_sequences": 1024, "step_equals_scan": 5}.get(name, 11)
        for level in levels:
            check(ArchExample(package=arch, spec="scaled", level=level, width=4, steps=steps))


def test_a_complex_layer_is_valid(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", COMPLEX)])
    verdict = validate_arch("scaled")
    assert verdict.failed == [] and verdict.state == "state constant: 32 bytes per stream at width 4"


def test_dropout_of_the_model_passes_every_check() -> None:
    assert validate_arch("gru:dropout=0.5").failed == []


DATACLASS = "\n\nimport dataclasses\n\n\n@dataclasses.dataclass\nclass Memory:\n    h: torch.Tensor\n"
STATES = {
    "dataclass": (
        ARCH.replace(EMPTY, "return Memory(self.empty(batch, self.width))\n")
        .replace("0.5 * state", "0.5 * state.h")
        .replace("return h_BH, h_BH", "return h_BH, Memory(h_BH)")
        + DATACLASS,
        "`init_state` returns the dataclass Memory: a state is a tensor, or a tuple",
    ),
    "array": (
        ARCH.replace("0.5 * state", "0.5 * torch.as_tensor(state)").replace(
            "return h_BH, h_BH", "return h_BH, h_BH.detach().numpy()"
        ),
        "`step` returns the value ndarray: a state is",
    ),
    "layers first": (
        ARCH.replace("self.empty(batch, self.width)", "self.empty(1, batch, self.width)")
        .replace("0.5 * state", "0.5 * state[0]")
        .replace("return h_BH, h_BH", "return h_BH, h_BH[None]"),
        "`init_state` returns a tensor of the shape (1, 2, 2) for a batch of 2: a state is",
    ),
    "no dimension": (
        ARCH.replace(EMPTY, "return self.empty(batch, self.width), torch.zeros(())\n")
        .replace("0.5 * state", "0.5 * state[0]")
        .replace("return h_BH, h_BH", "return h_BH, (h_BH, state[1] + 1)"),
        "a tensor of the shape () for a batch of",
    ),
    "on the layer": (
        ARCH.replace(EMPTY, "self.h = self.empty(batch, self.width)\n        return ()\n")
        .replace("0.5 * state", "0.5 * self.h")
        .replace("return h_BH, h_BH", "self.h = h_BH\n        return h_BH, ()"),
        "`step` depends on calls for another stream and changes `h` of the module: a state is",
    ),
    "in a buffer": (
        ARCH.replace(EMPTY, "return self.empty(batch, 0)\n")
        .replace(
            "        self.linear", "        self.register_buffer('last', torch.zeros(1, width))\n        self.linear", 1
        )
        .replace("0.5 * state", "0.5 * self.last")
        .replace("return h_BH, h_BH", "self.last = h_BH\n        return h_BH, state"),
        "`step` depends on calls for another stream and changes `last` of the module: a state is",
    ),
}


@pytest.mark.parametrize(("text", "message"), STATES.values(), ids=STATES)
def test_a_state_of_the_wrong_format_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    load([write(tmp_path, "scaled", text)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checker, "ARCH_CHECKS", {"state_format": ARCH_CHECKS["state_format"]})
        verdict = validate_arch("scaled")
    (failed,) = verdict.failed
    assert message in str(failed) and "\n" not in str(failed)
    assert (verdict.state or "").startswith("state size unknown: ")


RETURN = "return h_BH, h_BH"
FIRST_FAULTS = {
    "not finite": ("return h_BH / 0, h_BH / 0", ["shapes"], "`step` returns outputs that are not finite"),
    "one value": ("return h_BH", ["state_format", "shapes"], "`step` returns one Tensor, not two values"),
    "three values": ("return h_BH, 1, 2", ["state_format", "shapes"], "`step` returns 3 values, not two values"),
}


@pytest.mark.parametrize(("change", "names", "message"), FIRST_FAULTS.values(), ids=FIRST_FAULTS)
def test_a_fault_that_spoils_every_check_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, names: list[str], message: str
) -> None:
    file = write(tmp_path, "scaled", ARCH.replace(RETURN, change))
    assert validate_names([], [file], as_json=False) == 3
    head, *failures = capsys.readouterr().out.splitlines()
    assert len(failures) == 1 and message in failures[0]
    assert all(f"`{name}`" in failures[0] for name in names)
    not_run = len(ARCH_CHECKS) - 2
    assert f"{len(names)} of {len(ARCH_CHECKS)} checks failed, so {not_run} others did not run" in head


def test_an_unused_parameter_is_one_failure(tmp_path: Path) -> None:
    text = ARCH.replace(
        "        self.linear", "        self.unused = nn.Parameter(torch.ones(1))\n        self.linear", 1
    )
    load([write(tmp_path, "scaled", text)])
    (failed,) = validate_arch("scaled").failed
    assert (failed.check, failed.failure) == ("gradients_reach_parameters", "the parameter unused gets no gradient")


def failure(check: str, spec: str = "scaled", **changes: int) -> str:
    example = ArchExample(package=arch, spec=spec, level="layer", width=4, **changes)
    with pytest.raises(CheckFailed) as caught:
        ARCH_CHECKS[check](example)
    return str(caught.value)


def test_a_sum_of_logarithms_is_too_inexact_for_long_sequences(tmp_path: Path) -> None:
    scan = """    def scan(self, x_BTD, state):
        write, candidate = self.linear(x_BTD), self.other(x_BTD)
        a = nn.functional.logsigmoid(-write).cumsum(1)
        terms = nn.functional.logsigmoid(write) + nn.functional.logsigmoid(candidate) - a
        h = (a + torch.cat([state.log()[:, None], terms], 1).logcumsumexp(1)[:, 1:]).exp()
        return h, h[:, -1]
"""
    text = ARCH[: ARCH.index("    def scan")] + scan
    text = text.replace(
        "        nn.init.constant_", "        self.other = nn.Linear(inputs, width)\n        nn.init.constant_"
    )
    text = text.replace(
        UPDATE, "z = self.linear(x_BD).sigmoid()\n        h_BH = (1 - z) * state + z * self.other(x_BD).sigmoid()"
    )
    text = text.replace(EMPTY, "return self.empty(batch, self.width) + 0.5\n")
    load([write(tmp_path, "scaled", text)])
    assert "between float32 and float64, in a sequence of " in failure("long_sequences", steps=65_536, batch=1)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_faults_are_found_on_every_scale_of_the_outputs(tmp_path: Path, factor: float) -> None:
    scaled = ARCH.replace("return h_BH, h_BH", f"return {factor} * h_BH, h_BH")
    text = scaled.replace(
        "        outputs = []\n", "        x_BTD = x_BTD + 1e-6 * x_BTD.flip(1)\n        outputs = []\n"
    )
    load([write(tmp_path, "scaled", text)])
    assert "changed when the input at step" in failure("causality")
    assert "differs by" in failure("step_equals_scan")
    detached = scaled.replace("0.5 * state", "0.5 * state.detach()")
    load([write(tmp_path, "scaled", detached)])
    assert "finite differences" in failure("gradients_match_finite_differences")


def test_an_output_without_its_input_is_refused_for_every_scale(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH.replace("return h_BH, h_BH", "return 1e6 * state, h_BH"))])
    assert failure("input_dependence") == "output at step 1 does not change with the input at step 1"


@pytest.mark.parametrize("level", ["layer", "reals", "tokens"])
def test_a_saturated_output_depends_on_its_input(tmp_path: Path, level: Level) -> None:
    load([write(tmp_path, "scaled", updated("h_BH = (1e6 * self.linear(x_BD) + 0.5 * state).tanh()"))])
    ARCH_CHECKS["input_dependence"](ArchExample(package=arch, spec="scaled", level=level, width=4))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_changed_inputs_differ_everywhere(channels: int) -> None:
    x = torch.randn(4, 5, channels, generator=torch.Generator().manual_seed(0))
    assert (changed_inputs(x) != x).all()


@pytest.mark.parametrize("code", ["raise OSError('no such file')", "return 5"])
def test_a_task_whose_data_digest_fails_is_refused(tmp_path: Path, code: str) -> None:
    text = TASK.replace(
        "    def chance(", f"    @property\n    def data_digest(self):\n        {code}\n\n    def chance("
    )
    load([write(tmp_path, "first_bit", text)])
    assert "description" in [result.check for result in validate_task("first_bit").failed]


def test_validating_leaves_torch_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, "first_bit", TASK)
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    assert validate_names([], [path], as_json=True) == 0
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)
