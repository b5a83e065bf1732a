"""`carousel show-arch`: text for people, JSON, plugins and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import arch
from tests.bench.carousel import Carousel, carousel

__all__ = ["carousel"]

HEADINGS = ("family", "equations", "options", "state of one stream", "cost of one step", "implementation", "sources")
PLUGIN = '''"""Leaky: each unit keeps a share of its value.

    h' = λ h + (1 - λ) W x     (1)

The source is Jaeger 2001.
"""

from arch import Layer


class Leaky(Layer):
    """A leaky layer.

    Args:
        inputs: Input width.
        width: Output width.
        rate: Share λ that is kept.
    """

    def __init__(self, inputs: int, width: int, *, rate: float = 0.5) -> None:
        import torch

        super().__init__()
        self.width, self.rate = width, rate
        self.map = torch.nn.Linear(inputs, width)

    def init_state(self, batch):
        return (self.empty(batch, 2, self.width),)

    def step(self, x_BD, state):
        h = self.rate * state[0] + (1 - self.rate) * self.map(x_BD).unsqueeze(1)
        return h[:, 0], (h,)

    def scan(self, x_BTD, state):
        import torch

        outputs = []
        for x_BD in x_BTD.unbind(1):
            y, state = self.step(x_BD, state)
            outputs.append(y)
        return torch.stack(outputs, 1), state
'''


@pytest.mark.parametrize("name", arch.built_in())
def test_every_architecture_is_explained(carousel: Carousel, name: str) -> None:
    ended = carousel("show-arch", name)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith(f"{name}: ")
    for heading in HEADINGS:
        assert any(line.startswith(heading) for line in lines)
    assert "16,384 steps" in ended.out


def test_document_has_numbers_and_theory(carousel: Carousel) -> None:
    document = json.loads(carousel("show-arch", "transformer:window=8", "--width", "16", "--json").out)
    assert document["spec"] == "transformer:window=8"
    assert (document["width"], document["depth"], document["family"]) == (16, 1, "attention")
    assert [costs["position"] for costs in document["costs"]] == [1, 1024, 16384]
    assert document["costs"][1] == document["costs"][2] | {"position": 1024}
    assert document["block"] == {"block": "residual", "conv": 0, "expansion": 4}
    assert {option["name"] for option in document["options"]} >= {"window", "heads", "conv", "dropout"}
    assert document["theory"]["cannot"]


def test_chosen_options_and_sizes_are_shown(carousel: Carousel) -> None:
    out = carousel("show-arch", "gru:reset=before", "--width", "8", "--depth", "2").out
    assert "reset = after or before  (default: after; here before)" in out
    assert "2 layers of width 8" in out
    assert "1.h_BH" in out


def test_plugin_without_equations_is_told_where_to_write_them(carousel: Carousel, tmp_path: Path) -> None:
    _, _, code = PLUGIN.split('"""', 2)
    (tmp_path / "leaky.py").write_text(f'"""leaky: forgets."""{code}', encoding="utf-8")
    ended = carousel("show-arch", "leaky", "--plugin", "leaky.py")
    assert (ended.code, ended.err) == (0, "")
    assert "equations\n    none: write them below the first line of the docstring" in ended.out


def test_plugin_is_explained(carousel: Carousel, tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(PLUGIN, encoding="utf-8")
    ended = carousel("show-arch", "leaky:rate=0.9", "--plugin", "leaky.py")
    assert ended.code == 0, ended.err
    assert "h' = λ h + (1 - λ) W x" in ended.out
    assert "rate = float  (default: 0.5; here 0.9)" in ended.out
    assert "training: the equations run, because Leaky is a plugin, and plugins train by their equations" in " ".join(
        ended.out.split()
    )
    assert "2 × 64" in ended.out
    assert "unknown" in ended.out  # its costs
    assert "in theory" not in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lstn"], "no architecture 'lstn'; did you mean 'lstm'?"),
        (["gru:rest=before"], "gru has no option 'rest'; did you mean 'reset'?"),
        (["gru:reset=never"], "gru:reset=never is not allowed"),
        (["gru", "--width", "0"], "--width must be at least 1, not 0"),
        (["transformer", "--width", "5"], "width 5 is not a multiple of 4"),
        (["transformer", "--depth", "0"], "--depth must be at least 1, not 0"),
        (["mamba", "--width", "100000000"], "mamba does not fit into memory; give a smaller --width or --depth"),
    ],
)
def test_mistake_is_reported_in_one_line(carousel: Carousel, words: list[str], message: str) -> None:
    ended = carousel("show-arch", *words)
    assert ended.code == 2
    assert ended.err.startswith("carousel: ") and message in ended.err and ended.err.count("\n") == 1


def test_list_points_to_the_command(carousel: Carousel) -> None:
    assert "`carousel show-arch lstm` shows more" in carousel("list", "archs", "lstm").out
    assert "`carousel show-arch NAME` shows more" in carousel("list", "archs").out
    assert "`carousel show-task parity` shows more" in carousel("list", "tasks", "parity").out
