"""A plugin that reads later inputs, or whose `step` differs from its `scan`, gets no score. Correct plugins get one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.plugins.loader import install, load
from bench.probes.causality import MAX_STEPS, causality_failure, inconsistency
from results import Record, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, write
from tests.bench.tiny import subject, tiny_case

__all__ = ["carousel", "inline"]

SCAN = """        outputs = []
        for x_BD in x_BTD.unbind(1):
            h_BH, state = self.step(x_BD, state)
            outputs.append(h_BH)
        return torch.stack(outputs, 1), state
"""

BIDIRECTIONAL = '''"""{name}: a GRU that also reads backwards."""

import torch
from torch import nn

from arch import Layer


class Bidirectional(Layer):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError("the width must be even")
        self.width = width
        self.gru = nn.GRU(inputs, width // 2, batch_first=True, bidirectional=True)

    def init_state(self, batch):
        return self.empty(batch, 2, self.width // 2)

    def step(self, x_BD, state):
        y_BTH, state = self.scan(x_BD[:, None], state)
        return y_BTH[:, 0], state

    def scan(self, x_BTD, state):
        y_BTH, state = self.gru(x_BTD, state.transpose(0, 1).contiguous())
        return y_BTH, state.transpose(0, 1)
'''


def leaking(change: str) -> str:
    """Return the plugin with inputs that `change` replaces before `scan` reads them."""
    return ARCH.replace("        outputs = []\n", f"        {change}\n        outputs = []\n")


LEAKS = {
    "backwards": BIDIRECTIONAL,
    "the sum of all inputs": leaking("x_BTD = x_BTD + x_BTD.sum(1, keepdim=True)"),
    "the next input": leaking("x_BTD = x_BTD + x_BTD.roll(-1, 1)"),
    "the last input, scaled down": leaking("x_BTD = x_BTD + 0.01 * x_BTD[:, -1:]"),
    "a norm over time": leaking("x_BTD = x_BTD / x_BTD.std((1, 2), keepdim=True, correction=0).clamp(min=0.1)"),
    "beyond 20 steps": leaking("x_BTD = x_BTD + x_BTD.flip(1) if x_BTD.shape[1] > 20 else x_BTD"),
    "at every 16th step": leaking(
        "x_BTD = x_BTD + x_BTD.roll(-1, 1) * (torch.arange(x_BTD.shape[1]) % 16 == 5)[:, None]"
    ),
    "evaluation only": leaking("x_BTD = x_BTD if self.training else x_BTD + x_BTD.flip(1)"),
    "a maximum without gradient": leaking("x_BTD = x_BTD + x_BTD.argmax(1, keepdim=True)"),
}


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def record_of(tmp_path: Path, text: str, task: str = "first_last", **changes: int) -> Record:
    plugins = load([write(tmp_path, "scaled", text)]).plugins
    case = tiny_case("scaled", task, length=changes.pop("length", 32), **changes)
    return run_training_job(TrainJob(case=case, probes=("accuracy", "gates"), plugins=plugins), lambda *_: None).record


@pytest.mark.parametrize("task", ["first_last", "adding"])
@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_a_plugin_that_is_not_causal_gets_no_score(tmp_path: Path, text: str, task: str) -> None:
    record = record_of(tmp_path, text, task)
    assert record.status == "inconsistent" and (record.reason or "").startswith("not causal: output at step ")
    assert record.measurements == () and record.training is None and record.probes == {}


def test_a_leak_that_training_opens_is_found(tmp_path: Path) -> None:
    text = ARCH.replace("nn.init.constant_(", "self.leak = nn.Parameter(torch.zeros(1))\n        nn.init.constant_(")
    change = "        x_BTD = x_BTD + self.leak * x_BTD.flip(1)\n"
    load([write(tmp_path, "scaled", text.replace("        outputs = []\n", f"{change}        outputs = []\n"))])
    built = subject("scaled", length=16)
    assert causality_failure(built) is None
    with torch.no_grad():
        built.model.layers[0].leak.fill_(0.1)
    assert "not causal" in (inconsistency(built) or "")


OTHER_FAULTS = {
    "step differs": (
        ARCH.replace(SCAN, SCAN.replace("self.step(x_BD, state)", "self.step(1.5 * x_BD, state)")),
        "differ",
    ),
    "the state is lost": (
        ARCH.replace("torch.stack(outputs, 1), state", "torch.stack(outputs, 1), 0 * state"),
        "differ",
    ),
    "differs after 40 steps": (
        ARCH.replace(SCAN, SCAN.replace(", 1), state", ", 1), state * (x_BTD.shape[1] <= 40)")),
        "differ",
    ),
    "random": (leaking("x_BTD = x_BTD + torch.randn_like(x_BTD)"), "not deterministic: two evaluations"),
    "remembers the last call": (
        leaking("x_BTD, self.last = x_BTD + getattr(self, 'last', 0.0), x_BTD.mean((0, 1)).detach()"),
        "not deterministic: two evaluations",
    ),
}


@pytest.mark.parametrize(("text", "reason"), OTHER_FAULTS.values(), ids=OTHER_FAULTS)
def test_an_inconsistent_plugin_gets_no_score(tmp_path: Path, text: str, reason: str) -> None:
    record = record_of(tmp_path, text, length=96)
    assert record.status == "inconsistent" and reason in (record.reason or "")
    assert record.measurements == () and record.training is None


CORRECT = {
    "plain": ARCH,
    "noisy in training": leaking("x_BTD = x_BTD + torch.randn_like(x_BTD) if self.training else x_BTD"),
    "tiny gains": ARCH.replace(
        "h_BH = (self.linear(x_BD) + 0.5 * state).tanh()", "h_BH = 1e-6 * self.linear(x_BD) + 0.5 * state"
    ),
    "chaotic": ARCH.replace("0.5 * state", "9 * state.roll(1, -1) + 5 * state"),
    "constant": ARCH.replace("return h_BH, h_BH", "return 0 * h_BH, h_BH"),
    "parallel": ARCH.replace("(self.linear(x_BD) + 0.5 * state).tanh()", "self.linear(x_BD) + 0.9 * state").replace(
        SCAN,
        "        T = x_BTD.shape[1]\n"
        "        powers = 0.9 ** torch.arange(T + 1, dtype=x_BTD.dtype, device=x_BTD.device)\n"
        "        u = self.linear(x_BTD)\n"
        "        n = 2 * T\n"
        "        y = torch.fft.irfft(torch.fft.rfft(u, n, 1) * torch.fft.rfft(powers[:T], n)[:, None], n, 1)[:, :T]\n"
        "        y = y + powers[1:, None] * state[:, None]\n        return y, y[:, -1]\n",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["first_last", "adding"])
@pytest.mark.parametrize("text", CORRECT.values(), ids=CORRECT)
def test_a_correct_plugin_gets_a_score(tmp_path: Path, text: str, task: str) -> None:
    record = record_of(tmp_path, text, task, length=96, steps=3)
    assert (record.status, record.reason) == ("ok", None) and record.of("accuracy")


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "transformer:window=3,positions=learned,max_length=64"])
@pytest.mark.parametrize("task", ["first_last", "adding"])
def test_built_in_models_are_consistent(name: str, task: str) -> None:
    assert inconsistency(subject(name, task, length=40)) is None


def test_the_check_changes_nothing(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH)])
    built = subject("scaled", length=16)
    before, generator = [value.clone() for value in built.model.state_dict().values()], torch.get_rng_state()
    assert built.model.training and inconsistency(built) is None and built.model.training
    assert all(torch.equal(a, b) for a, b in zip(before, built.model.state_dict().values(), strict=True))
    assert torch.equal(generator, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in built.model.parameters())


def test_long_sequences_are_cut_off(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", leaking(f"assert x_BTD.shape[1] <= {MAX_STEPS}"))])
    assert inconsistency(subject("scaled", length=3 * MAX_STEPS)) is None


def test_a_run_shows_no_score_of_a_bidirectional_network(carousel: Carousel, inline: Inline, tmp_path: Path) -> None:
    write(tmp_path, "both_ways", BIDIRECTIONAL)
    ended = carousel("run", "tiny.toml", "--plugin", "both_ways.py", "-a", "both_ways", "-a", "lstm", "--seeds", "1")
    assert ended.code == 3
    assert "1 failed (1 inconsistent)" in ended.out and "not causal: output at step" in ended.out
    records = Store(tmp_path / "carousel-runs").find("latest").read()[0].values()
    assert {record.case.arch: (record.status, bool(record.of("accuracy"))) for record in records} == {
        "both_ways": ("inconsistent", False),
        "lstm": ("ok", True),
    }
    rows = json.loads(carousel("show", "latest", "--format", "json").out)
    assert "both_ways" in json.dumps(rows)
