"""Plugins for tests: the smallest architecture and task, as files and in an installed package."""

from __future__ import annotations

from pathlib import Path

ARCH = '''"""{name}: the last step, scaled."""

import torch
from torch import nn

from arch import Layer


class Scaled(Layer):
    """`start`  the first scale."""

    def __init__(self, inputs: int, width: int, *, start: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(inputs, width)
        nn.init.constant_(self.linear.bias, start)

    def init_state(self, batch):
        return self.empty(batch, self.width)

    def step(self, x_BD, state):
        h_BH = (self.linear(x_BD) + 0.5 * state).tanh()
        return h_BH, h_BH

    def scan(self, x_BTD, state):
        outputs = []
        for x_BD in x_BTD.unbind(1):
            h_BH, state = self.step(x_BD, state)
            outputs.append(h_BH)
        return torch.stack(outputs, 1), state
'''

TASK = '''"""{name}: the first bit, at the end."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from tasks import Batch, Task, Tokens


@dataclass(frozen=True, kw_only=True)
class FirstBit(Task):
    """Repeat the first bit at the last step; two classes."""

    source: ClassVar[str] = "this test"

    @property
    def inputs(self):
        return Tokens(2)

    @property
    def targets(self):
        return Tokens(2)

    @property
    def min_length(self):
        return 2

    def draw(self, generator, batch, length, split):
        inputs = torch.randint(2, (batch, length), generator=generator)
        mask = torch.zeros(batch, length, dtype=torch.bool)
        mask[:, -1] = True
        return Batch(inputs=inputs, targets=inputs[:, :1] * mask, mask=mask)

    def chance(self, length):
        return 0.5

    def collision(self, length):
        return 2.0**-length

    def solve(self, batch):
        return batch.inputs[:, :1].expand(batch.mask.shape)
'''


def write(folder: Path, name: str, text: str) -> Path:
    """Write `text` to the file `name`.py in `folder`, and return its path. Each `{name}` in `text` becomes `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text.replace("{name}", name), encoding="utf-8")
    return path


def install_package(folder: Path, group: str, modules: dict[str, str]) -> None:
    """Write an installed package `extras` to `folder`. It declares each module as an entry point of `group`.

    `modules` maps the name of each module, which is also the name of its entry point, to its source code.
    """
    (folder / "extras").mkdir(parents=True)
    (folder / "extras" / "__init__.py").write_text("", encoding="utf-8")
    for name, text in modules.items():
        write(folder / "extras", name, text)
    about = folder / "extras-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]", *(f"{name} = extras.{name}" for name in modules)]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
