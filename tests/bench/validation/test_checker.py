"""Test that every check fails for a plugin that violates it, with a clear message and the smallest example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from arch.kernels.runtime import compiler
from bench.plugins.loader import install, load
from bench.validation import ARCH_CHECKS, TASK_CHECKS, checker
from bench.validation.checker import validate_arch, validate_task
from tests.bench.carousel import Carousel, carousel
from tests.bench.plugin_files import ARCH, TASK, write

__all__ = ["carousel"]


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


UPDATE = "        h_BH = (self.linear(x_BD) + 0.5 * state).tanh()\n"
BOX = "\n\nclass Box:\n    def __init__(self, h):\n        self.h = h\n"

BROKEN_ARCHS = {
    "state_format": (
        ("return self.empty(batch, self.width)", "return self.empty(batch, self.width).numpy()"),
        "`init_state` returns the value ndarray: a state is a tensor, or a tuple",
        "length 1, batch 1, width 2, as one layer",
    ),
    "shapes": (
        ("return h_BH, h_BH", "return h_BH.float(), h_BH"),
        "`step` returns torch.float32 although weights and inputs are torch.float64",
        "length 1, batch 1, width 2, as one layer",
    ),
    "step_equals_scan": (
        ("h_BH, state = self.step(x_BD, state)", "h_BH, _ = self.step(x_BD, state)"),
        "output at step 2 differs by",
        "length 1, batch 1, width 2, as one layer",
    ),
    "forward_equals_scan": (
        (
            "    def step(",
            "    def forward(self, x):\n        return self.scan(x, self.init_state(len(x)) + 1)[0]\n\n    def step(",
        ),
        "output at step 1 differs by",
        "length 1, batch 1, width 2, as one layer",
    ),
    "causality": (
        ("        outputs = []\n", "        outputs = []\n        x_BTD = x_BTD + x_BTD.flip(1)\n"),
        "output at step 1 changed when the input at step 2 was changed",
        "length 2, batch 1, width 2, as one layer",
    ),
    "input_dependence": (
        ("return h_BH, h_BH", "return state, h_BH"),
        "output at step 1 does not change with the input at step 1",
        "length 1, batch 1, width 2, as one layer",
    ),
    "batch_independence": (
        (UPDATE, UPDATE.replace("x_BD)", "x_BD - x_BD.mean(0))")),
        "output at step 1 differs by 0.",
        "length 1, batch 2, width 2, as one layer",
    ),
    "stream_independence": (
        (
            UPDATE,
            "        state = self.__dict__.get('kept', state)\n" + UPDATE + "        self.kept = h_BH.detach()\n",
        ),
        "when three streams are interleaved instead of one being fed alone, under enable_grad",
        "length 1, batch 1, width 2, as one layer",
    ),
    "state_copies": (
        (
            UPDATE + "        return h_BH, h_BH\n",
            UPDATE.replace("state)", "state.h)") + "        state.h = h_BH\n        return h_BH, state\n",
        ),
        "output at step 2 differs by",
        "length 1, batch 1, width 2, as one layer",
    ),
    "gates_read_only": (
        (
            "    def step(",
            "    def gates(self, x_BD, state):\n        state.data.add_(1)\n        return {}\n\n    def step(",
        ),
        "`gates` changed the state after 1 steps, under enable_grad",
        "length 1, batch 1, width 2, as one layer",
    ),
    "gradients_reach_parameters": (
        ("nn.init.constant_(self", "self.spare = nn.Parameter(torch.ones(1))\n        nn.init.constant_(self"),
        "the parameter spare gets no gradient",
        "length 11, batch 1, width 2, as one layer",
    ),
    "gradients_across_chunks": (
        ("        outputs = []\n", "        outputs = []\n        state = state.detach()\n"),
        "when `scan` reads chunks of 1, 1",
        "length 2, batch 1, width 2, as one layer",
    ),
    "gradients_match_finite_differences": (
        ("0.5 * state", "0.5 * state.detach()"),
        "the gradients do not match finite differences",
        "length 2, batch 1, width 2, as one layer",
    ),
    "float32_matches_float64": (
        (UPDATE, "        if x_BD.dtype == torch.float32:\n            x_BD = x_BD.bfloat16().float()\n" + UPDATE),
        "between `forward` in float32 and `step` in float64",
        "length 1, batch 1, width 2, as one layer",
    ),
    "long_sequences": (
        (
            "return torch.stack(outputs, 1), state",
            "y = torch.stack(outputs, 1)\n        sums = torch.full_like(y, 1e3).cumsum(1)\n"
            "        return (y + sums) - sums, state",
        ),
        "between float32 and float64, in a sequence of 64 steps and 8 more by `step`",
        "length 65536, batch 1, width 2, as one layer",
    ),
    "compiled_cell": (
        (
            "    def step(",
            "    def streaming_spec(self):\n"
            "        W = torch.nn.Parameter(self.linear.weight)\n"
            "        self.register_parameter('W', W)\n"
            "        self.backend = 'auto'\n"
            "        cell = CompiledCell(gates=2, states=1)(lambda sums, state: state)\n"
            "        return cell.spec(self, W='W', state=torch.Tensor)\n\n    def step(",
        ),
        "the compiled cell is not used, so steps are interpreted: W: the kernel needs a tensor of shape (4, 3), not "
        "(2, 3)",
        "length 1, batch 1, width 2, as one layer",
    ),
}
"""For each check: a change to the plugin that makes the check fail, part of the message, and the smallest example."""

BROKEN_TASKS = {
    "lengths": (
        ("    def chance(", "    def check_length(self, length):\n        pass\n\n    def chance("),
        "length 1 is accepted although min_length is 2",
        "length 2, batch 1",
    ),
    "batch_format": (
        ("inputs[:, :1] * mask", "(inputs[:, :1] * mask).int()"),
        "targets are torch.int32",
        "length 2, batch 1",
    ),
    "mask": (("mask[:, -1]", "mask[1:, -1]"), "sequence 1 has no scored position", "length 2, batch 1"),
    "solver": (("batch.inputs[:, :1].expand", "batch.inputs[:, 1:2].expand"), "`solve` answers ", "length 2, batch "),
    "scores": (
        ("    def chance(", "    def correct(self, answers, batch):\n        return batch.mask\n\n    def chance("),
        "`score` returns 1.000, not 0, if all answers are wrong",
        "length 2, batch 1",
    ),
    "reference_scores": (
        ("return 2.0**-length", "return 2.0"),
        "collision is 2.0, which is not in [0, 1]",
        "length 2, batch 1",
    ),
    "determinism": (
        ("(batch, length), generator=generator", "(batch, length)"),
        "the same seed sampled two different batches: their inputs differ",
        "length 2, batch 12",
    ),
    "splits": (
        ("        inputs = torch", "        generator = torch.Generator().manual_seed(0)\n        inputs = torch"),
        "split validation has the same sequences as split train, seed 0",
        "length 2, batch 1",
    ),
    "description": (("two classes.", "two classes"), "must be one sentence", "length 2, batch 1"),
    "chance": (("return 0.5", "return 0.4"), "the stated chance is 0.4000, but", "length 2, batch 12"),
    "memoryless_score": (
        ("        mask = torch", "        inputs[:, -1] = inputs[:, 0]\n        mask = torch"),
        "chance (memoryless_score is None) is 0.5000, but the best answer from the present input scores 1.0000",
        "length 2, batch 12",
    ),
}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("0.5", "strategies returns 0.5, not a list of tasks.Strategy"),
        (
            "[Strategy(name='', description='Guess.', score=0.5)]",
            "a strategy has the name ''; give each one a name of its own",
        ),
        (
            "2 * [Strategy(name='guess', description='Guess.', score=0.5)]",
            "a strategy has the name 'guess'; give each one",
        ),
        ("[Strategy(name='guess', description='Guess.')]", "strategy 'guess' has neither a score nor a loss"),
        (
            "[Strategy(name='guess', description='Guess.', score=1.5)]",
            "the score of strategy 'guess' is 1.5, which is not in [0, 1]",
        ),
        (
            "[Strategy(name='guess', description='Guess.', loss=-1.0)]",
            "the loss of strategy 'guess' is -1.0, which is not a finite",
        ),
    ],
)
def test_impossible_strategies_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: str, message: str
) -> None:
    monkeypatch.setattr(checker, "TASK_CHECKS", {"reference_scores": TASK_CHECKS["reference_scores"]})
    stated = f"def strategies(self, length):\n        from tasks import Strategy\n        return {returned}"
    load([write(tmp_path, "first_bit", changed(TASK, ("    def chance(", f"    {stated}\n\n    def chance(")))])
    (result,) = validate_task("first_bit").failed
    assert message in str(result)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            "def memoryless_loss(self, length):\n        return -0.5",
            "memoryless_loss is -0.5, which is not a finite",
        ),
        ("def constant_loss(self, length):\n        return 0.1", "memoryless_loss is 0.693147"),
    ],
)
def test_impossible_losses_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str, message: str
) -> None:
    monkeypatch.setattr(checker, "TASK_CHECKS", {"reference_scores": TASK_CHECKS["reference_scores"]})
    load([write(tmp_path, "first_bit", changed(TASK, ("    def chance(", f"    {stated}\n\n    def chance(")))])
    (result,) = validate_task("first_bit").failed
    assert message in str(result)


def changed(text: str, change: tuple[str, str]) -> str:
    old, new = change
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.parametrize("check", ARCH_CHECKS)
def test_every_architecture_check_fails_for_an_architecture_that_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    change, message, smallest = BROKEN_ARCHS[check]
    text = changed(ARCH, change)
    if check == "compiled_cell":
        text = changed(text, ("from arch import Layer", "from arch import CompiledCell, Layer"))
    if check == "state_copies":
        text = (
            changed(
                text,
                (
                    "        return self.empty(batch, self.width)\n",
                    "        return Box(self.empty(batch, self.width))\n",
                ),
            )
            + BOX
        )
    monkeypatch.setattr(checker, "ARCH_CHECKS", {check: ARCH_CHECKS[check]})
    load([write(tmp_path, "scaled", text)])
    (result,) = validate_arch("scaled").failed
    assert str(result).startswith(f"check `{check}`: ") and message in str(result)
    assert str(result).endswith(f"; smallest example: {smallest}")


@pytest.mark.parametrize("check", TASK_CHECKS)
def test_every_task_check_fails_for_a_task_that_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    change, message, smallest = BROKEN_TASKS[check]
    monkeypatch.setattr(checker, "TASK_CHECKS", {check: TASK_CHECKS[check]})
    load([write(tmp_path, "first_bit", changed(TASK, change))])
    (result,) = validate_task("first_bit").failed
    assert str(result).startswith(f"check `{check}`: ") and message in str(result)
    assert f"; smallest example: {smallest}" in str(result)


def test_outputs_of_the_wrong_shape_are_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("forward_equals_scan", "causality")
    monkeypatch.setattr(checker, "ARCH_CHECKS", {name: ARCH_CHECKS[name] for name in names})
    forward = (
        "    def forward(self, x):\n"
        "        outputs = self.scan(x, self.init_state(len(x)))[0]\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        return outputs.repeat(1, 1, self.calls)\n\n"
    )
    load([write(tmp_path, "scaled", changed(ARCH, ("    def step(", f"{forward}    def step(")))])
    scan, causal = (str(result) for result in validate_arch("scaled").failed)
    assert "the output shape differs when `forward` is called a second time: (1, 1, 4), not (1, 1, 2)" in scan
    assert "the output shape changed when the input at step 1 was changed" in causal


def test_correct_plugins_pass_every_check(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH), write(tmp_path, "first_bit", TASK)])
    assert validate_arch("scaled").failed == [] and validate_task("first_bit").failed == []
    assert [result.check for result in validate_arch("scaled:start=0").results] == list(ARCH_CHECKS)


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        ("lstm", "state constant: 32 bytes per stream at width 4"),
        ("transformer", "state grows by 32 bytes per step: 32 bytes per stream after step 1, 8,192 after step 256"),
        ("transformer:window=3", "state constant from step "),
    ],
)
def test_state_growth_is_measured(monkeypatch: pytest.MonkeyPatch, spec: str, state: str) -> None:
    monkeypatch.setattr(checker, "ARCH_CHECKS", {})
    assert (validate_arch(spec).state or "").startswith(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "gru:reset=before",
        "transformer:positions=learned,max_length=16,window=3",
        "transformer:positions=learned,max_length=3",
    ],
)
def test_variants_of_built_in_architectures_pass_every_check(spec: str) -> None:
    assert validate_arch(spec).failed == []


def test_an_exception_fails_the_check_and_shows_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "ARCH_CHECKS", {"shapes": ARCH_CHECKS["shapes"]})
    load([write(tmp_path, "scaled", changed(ARCH, ("0.5 * state", "0.5 * stat")))])
    verdict = validate_arch("scaled")
    assert "check `shapes`: raised NameError at line 22: name 'stat' is not defined" in str(verdict.failed[0])
    assert verdict.state == "state size unknown: NameError at line 22: name 'stat' is not defined"


def test_the_command_reports_passed_and_failed_checks(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "first_bit", TASK)
    result = carousel("validate", "--plugin", "first_bit.py")
    assert result.code == 0 and result.err == ""
    assert result.out.startswith("first_bit (plugin ") and result.out.endswith("): all 12 checks passed\n")
    write(tmp_path, "first_bit", changed(TASK, ("return 0.5", "return 0.4")))
    result = carousel("validate", "first_bit", "--plugin", "first_bit.py")
    assert result.code == 3
    assert "2 of 11 checks failed\n  check `chance`: the stated chance is 0.4000" in result.out


def test_the_command_says_that_the_equations_run(
    carousel: Carousel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "obstacle", lambda: "NUMBA_DISABLE_JIT switches the compiler off")
    write(tmp_path, "first_bit", TASK)
    result = carousel("validate", "--plugin", "first_bit.py", "--json")
    line = "carousel: the equations run, and no compiled kernels: NUMBA_DISABLE_JIT switches the compiler off\n"
    assert (result.code, result.err) == (0, line)


def test_json_output_is_one_document(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "first_bit", changed(TASK, ("mask[:, -1]", "mask[1:, -1]")))
    result = carousel("validate", "first_bit", "parity", "--plugin", "first_bit.py", "--json")
    plugin, parity = json.loads(result.out)["validated"]
    assert result.code == 3
    assert parity["kind"] == "task" and parity["plugin"] is None and len(plugin["plugin"]) == 10
    assert {check["failure"] for check in parity["results"]} == {None}
    checks = {check["check"]: check for check in plugin["results"]}
    assert checks["mask"]["smallest"] == {"length": 2, "batch": 1}
    assert checks["lengths"] == {"check": "lengths", "failure": None, "smallest": None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsmt"], "no architecture or task 'lsmt'; choose from "),
        (["lstm:forget_offset=1"], "lstm has no option 'forget_offset'"),
        (["mamba:states=0"], "mamba:states=0: states must be at least 1, not 0"),
        (["transformer:heads=99"], "transformer:heads=99 accepts no width up to 64: width 64 is not a multiple of 198"),
        (
            ["transformer:positions=learned,max_length=1"],
            "transformer:max_length=1,positions=learned reads at most 1 step",
        ),
        (["--plugin", "missing.py"], "--plugin missing.py: cannot read the file"),
        (["--plugin", "broken.py"], "the plugin broken is disabled: ZeroDivisionError at line 1"),
        (["parity", "--plugin", "broken.py"], "the plugin broken is disabled: ZeroDivisionError at line 1"),
    ],
)
def test_validating_an_unusable_name_is_a_usage_error(
    carousel: Carousel, tmp_path: Path, words: list[str], message: str
) -> None:
    write(tmp_path, "broken", "1 / 0")
    result = carousel("validate", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"carousel: {message}") and len(result.err.splitlines()) == 1
