"""Copies of the five packages with a slower kernel, and commands that run in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
PACKAGES = ("arch", "tasks", "bench", "results", "reports")


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Lines that make a kernel slower and change none of its results."""

    kernel: Path
    """File of the kernel, relative to the folder of the packages."""
    line: str
    """The line that the planted lines precede. It occurs once in the file."""
    planted: str

    def plant(self, source: str) -> str:
        """Return the kernel's source with the planted lines.

        Raises `ValueError` unless `line` occurs exactly once.
        """
        if source.count(self.line) != 1:
            raise ValueError(
                f"{self.kernel} must contain this line exactly once, to plant before it: {self.line.strip()}"
            )
        return source.replace(self.line, self.planted + self.line)


_STREAMING = Path("arch", "kernels", "streaming", "packed_step.py")
_CELL = "                after = cell(sums, load_parts(state, at, count))\n"
"""Line that applies the cell of an LSTM to the sums of some units, in streams."""
_INPUT_SUMS = "                again = summed(biases(weights[1], H, unit, count), packed, of_W, x, row * D, D)\n"
_STATE_SUMS = "                again = summed(again, packed, of_U, h, row * H, H)\n"
_STORED = "                store_first(y, row * H + H - LANES, LANES, again[0])\n"
"""The last units of the output, which the result overwrites. Without this line, the compiler removes the sums."""
STREAMED_QUARTER = Slowdown(_STREAMING, _CELL, _INPUT_SUMS + _STATE_SUMS + _STORED)
"""All sums of an LSTM's streamed step once more. The weights are in the first-level cache by then, so the step takes
about a quarter longer."""
STREAMED_TENTH = Slowdown(_STREAMING, _CELL, _INPUT_SUMS + _STORED)
"""Only the sums of the layers' inputs once more: the streamed step takes about a tenth longer."""
TRAINED_TENTH = Slowdown(
    Path("arch", "kernels", "training", "lstm.py"),
    "            project_back(d_x, D, columns, packed_W, chunk)  # (14)\n",
    "            project_back(d_x, D, columns, packed_W, chunk)\n"
    "            project_back(d_x, D, columns, packed_W, Chunk(begin, begin + (end - begin) // 4, B, first, last))\n",
)
"""The gradient of an LSTM layer's input once more, and that of a quarter of the steps a third time: the training step
takes about a tenth longer."""


def copy_packages(folder: Path, slowdown: Slowdown | None = None) -> Path:
    """Copy the five packages to a new folder, plant the slowdown if one is given, and return the folder."""
    for package in PACKAGES:
        shutil.copytree(HOME / package, folder / package)
    if slowdown is not None:
        kernel = folder / slowdown.kernel
        kernel.write_text(slowdown.plant(kernel.read_text(encoding="utf-8")), encoding="utf-8")
    return folder


def run_in(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments and the packages in `home`."""
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False
    )


def carousel(home: Path, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """Run the `carousel` of the packages in `home`."""
    return run_in(home, "-m", "bench", *arguments, "--store", str(store))
