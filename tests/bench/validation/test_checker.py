"""Each law of the contract catches a plugin that breaks it, and says so in words, with the smallest example."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.plugins.loader import install, load
from bench.validation import ARCH_CHECKS, TASK_CHECKS, checker
from bench.validation.checker import validate_arch, validate_task
from tests.bench.carousel import Carousel, carousel
from tests.bench.plugin_files import ARCH, TASK, write

__all__ = ["carousel"]


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    install(())


CARRIED = "        h_BH = (self.linear(x_BD) + 0.5 * state).tanh()\n"
BOX = "\n\nclass Box:\n    def __init__(self, h):\n        self.h = h\n"

BROKEN_ARCHS = {
    "shapes": (
        ("return h_BH, h_BH", "return h_BH.float(), h_BH"),
        "`forward` gives torch.float32 although weights and inputs are torch.float64",
        "length 1, batch 1, width 2, as one layer",
    ),
    "step_is_scan": (
        ("h_BH, state = self.step(x_BD, state)", "h_BH, _ = self.step(x_BD, state)"),
        "output at step 2 differs by",
        "length 1, batch 1, width 2, as one layer",
    ),
    "forward_is_scan": (
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
    "present_input": (
        ("return h_BH, h_BH", "return state, h_BH"),
        "output at step 1 stays as it is when the input at step 1 is changed",
        "length 1, batch 1, width 2, as one layer",
    ),
    "batch_independence": (
        (CARRIED, CARRIED.replace("x_BD)", "x_BD - x_BD.mean(0))")),
        "output at step 1 differs by 0.",
        "length 1, batch 2, width 2, as one layer",
    ),
    "streams_apart": (
        (
            CARRIED,
            "        state = self.__dict__.get('kept', state)\n" + CARRIED + "        self.kept = h_BH.detach()\n",
        ),
        "when three streams are fed in turn rather than one alone, under enable_grad",
        "length 1, batch 1, width 2, as one layer",
    ),
    "copied_state": (
        (
            CARRIED + "        return h_BH, h_BH\n",
            CARRIED.replace("state)", "state.h)") + "        state.h = h_BH\n        return h_BH, state\n",
        ),
        "output at step 2 differs by",
        "length 1, batch 1, width 2, as one layer",
    ),
    "gates_read_only": (
        (
            "    def step(",
            "    def gates(self, x_BD, state):\n        state.data.add_(1)\n        return {}\n\n    def step(",
        ),
        "`gates` changed the state that it read, after 1 steps, under enable_grad",
        "length 1, batch 1, width 2, as one layer",
    ),
    "gradients_reach": (
        ("nn.init.constant_(self", "self.spare = nn.Parameter(torch.ones(1))\n        nn.init.constant_(self"),
        "the parameter spare gets no gradient",
        "length 11, batch 1, width 2, as one layer",
    ),
    "gradients_chunked": (
        ("        outputs = []\n", "        outputs = []\n        state = state.detach()\n"),
        "when `scan` is fed chunks of 1, 1",
        "length 2, batch 1, width 2, as one layer",
    ),
    "gradients_true": (
        ("0.5 * state", "0.5 * state.detach()"),
        "finite differences give others",
        "length 2, batch 1, width 2, as one layer",
    ),
}
"""By law: what is changed in the plugin, words of the finding, and the smallest example."""

BROKEN_TASKS = {
    "lengths": (
        ("    def chance(", "    def check_length(self, length):\n        pass\n\n    def chance("),
        "1 steps are accepted, although min_length is 2",
        "length 2, batch 1",
    ),
    "form": (("inputs[:, :1] * mask", "(inputs[:, :1] * mask).int()"), "targets are torch.int32", "length 2, batch 1"),
    "mask": (("mask[:, -1]", "mask[1:, -1]"), "sequence 1 is asked nothing", "length 2, batch 1"),
    "solver": (("batch.inputs[:, :1].expand", "batch.inputs[:, 1:2].expand"), "`solve` answers ", "length 2, batch "),
    "scores": (
        ("    def chance(", "    def right(self, answers, batch):\n        return batch.mask\n\n    def chance("),
        "answers that are all wrong score 1.000, not 0",
        "length 2, batch 1",
    ),
    "lines": (("return 2.0**-length", "return 2.0"), "collision is 2.0, which is not in [0, 1]", "length 2, batch 1"),
    "determinism": (
        ("(batch, length), generator=generator", "(batch, length)"),
        "one seed sampled two batches: their inputs differ",
        "length 2, batch 12",
    ),
    "splits": (
        ("        inputs = torch", "        generator = torch.Generator().manual_seed(0)\n        inputs = torch"),
        "split validation has the same sequences as split train, seed 0",
        "length 2, batch 1",
    ),
    "described": (("two classes.", "two classes"), "must be one sentence", "length 2, batch 1"),
    "chance": (("return 0.5", "return 0.4"), "chance is stated as 0.4000, but", "length 2, batch 12"),
    "present_input": (
        ("        mask = torch", "        inputs[:, -1] = inputs[:, 0]\n        mask = torch"),
        "chance, with no memoryless_score, is stated as 0.5000, but the present input alone scores 1.0000",
        "length 2, batch 12",
    ),
}


def changed(text: str, change: tuple[str, str]) -> str:
    there, instead = change
    assert text.count(there) == 1, there
    return text.replace(there, instead)


@pytest.mark.parametrize("law", ARCH_CHECKS)
def test_a_law_of_architectures_catches_who_breaks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, law: str
) -> None:
    change, said, smallest = BROKEN_ARCHS[law]
    text = changed(ARCH, change)
    if law == "copied_state":
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
    monkeypatch.setattr(checker, "ARCH_CHECKS", {law: ARCH_CHECKS[law]})
    load([write(tmp_path, "scaled", text)])
    (finding,) = validate_arch("scaled").broken
    assert str(finding).startswith(f"law `{law}`: ") and said in str(finding)
    assert str(finding).endswith(f"; smallest: {smallest}")


@pytest.mark.parametrize("law", TASK_CHECKS)
def test_a_law_of_tasks_catches_who_breaks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, law: str) -> None:
    change, said, smallest = BROKEN_TASKS[law]
    monkeypatch.setattr(checker, "TASK_CHECKS", {law: TASK_CHECKS[law]})
    load([write(tmp_path, "first_bit", changed(TASK, change))])
    (finding,) = validate_task("first_bit").broken
    assert str(finding).startswith(f"law `{law}`: ") and said in str(finding)
    assert f"; smallest: {smallest}" in str(finding)


def test_what_keeps_every_law_breaks_none(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH), write(tmp_path, "first_bit", TASK)])
    assert validate_arch("scaled").broken == [] and validate_task("first_bit").broken == []
    assert [finding.law for finding in validate_arch("scaled:start=0").findings] == list(ARCH_CHECKS)


@pytest.mark.parametrize(
    ("spec", "state"),
    [
        ("lstm", "state constant: 32 bytes a stream at width 4"),
        ("transformer", "state grows by 32 bytes a step: 32 bytes a stream after step 1, 8,192 after step 256"),
        ("transformer:window=3", "state constant from step "),
    ],
)
def test_the_growth_of_a_state_is_measured(monkeypatch: pytest.MonkeyPatch, spec: str, state: str) -> None:
    monkeypatch.setattr(checker, "ARCH_CHECKS", {})
    assert (validate_arch(spec).state or "").startswith(state)


@pytest.mark.parametrize(
    "spec",
    [
        "gru:reset=before",
        "transformer:positions=learned,max_length=16,window=3",
        "transformer:positions=learned,max_length=3",
    ],
)
def test_built_in_variants_keep_every_law(spec: str) -> None:
    assert validate_arch(spec).broken == []


def test_an_exception_is_a_broken_law_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "ARCH_CHECKS", {"shapes": ARCH_CHECKS["shapes"]})
    load([write(tmp_path, "scaled", changed(ARCH, ("0.5 * state", "0.5 * stat")))])
    verdict = validate_arch("scaled")
    assert "law `shapes`: raised NameError at line 22: name 'stat' is not defined" in str(verdict.broken[0])
    assert verdict.state == "its state could not be weighed: NameError at line 22: name 'stat' is not defined"


def test_the_command_says_what_holds_and_what_is_broken(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "first_bit", TASK)
    held = carousel("validate", "--plugin", "first_bit.py")
    assert held.code == 0 and held.err == ""
    assert held.out.startswith("first_bit (plugin ") and held.out.endswith("): all 11 checks passed\n")
    write(tmp_path, "first_bit", changed(TASK, ("return 0.5", "return 0.4")))
    ended = carousel("validate", "first_bit", "--plugin", "first_bit.py")
    assert ended.code == 3
    assert "2 of 11 checks failed\n  law `chance`: chance is stated as 0.4000" in ended.out


def test_json_is_one_document(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "first_bit", changed(TASK, ("mask[:, -1]", "mask[1:, -1]")))
    ended = carousel("validate", "first_bit", "parity", "--plugin", "first_bit.py", "--json")
    mine, parity = json.loads(ended.out)["validated"]
    assert ended.code == 3
    assert parity["kind"] == "task" and parity["plugin"] is None and len(mine["plugin"]) == 10
    assert {finding["broken"] for finding in parity["findings"]} == {None}
    found = {finding["law"]: finding for finding in mine["findings"]}
    assert found["mask"]["smallest"] == {"length": 2, "batch": 1}
    assert found["lengths"] == {"law": "lengths", "broken": None, "smallest": None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lsmt"], "no architecture or task 'lsmt'; choose from "),
        (["lstm:forget=1"], "lstm has no option 'forget'"),
        (
            ["transformer:positions=learned,max_length=1"],
            "transformer:max_length=1,positions=learned reads sequences of",
        ),
        (["--plugin", "missing.py"], "--plugin missing.py cannot be read"),
        (["--plugin", "broken.py"], "the plugin broken is disabled: ZeroDivisionError at line 1"),
        (["parity", "--plugin", "broken.py"], "the plugin broken is disabled: ZeroDivisionError at line 1"),
    ],
)
def test_what_cannot_be_validated_is_a_mistake_of_use(
    carousel: Carousel, tmp_path: Path, words: list[str], said: str
) -> None:
    write(tmp_path, "broken", "1 / 0")
    ended = carousel("validate", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"carousel: {said}") and len(ended.err.splitlines()) == 1
