"""Compile the kernels that some architectures use, so that later calls include no compilation."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable

import torch

from arch.core.build import build
from arch.core.model import SequenceModel
from arch.core.registry import built_in
from arch.kernels.runtime import compiler
from results.specs import Spec

WIDTHS = range(16, 257)
"""Widths to try: an architecture may refuse some, such as those that heads do not divide."""
STEPS = 3


def compile_kernels(specs: Iterable[str]) -> float:
    """Compile the kernels for training and streams of some architectures, or load them from the cache.

    A small model of each built-in architecture runs once. Plugins have no kernels of their own, but cells, which are
    compiled at the first step. Architectures that cannot be built are skipped: the run reports why.

    Args:
        specs: Specs such as `lstm:bias=False`.

    Returns the seconds that this process has spent on compiling kernels so far: 0 if all were cached, or if there is no
    compiler. If a kernel cannot be compiled, the equations run from then on.
    """
    if compiler.obstacle() is not None:
        return 0.0
    try:
        importlib.import_module("arch.kernels.streaming.model_step")
        for spec in dict.fromkeys(specs):
            if (model := _small_model(spec)) is not None:
                _run_once(model)
    except Exception as error:  # a kernel that this version of Numba cannot compile must not end a worker
        compiler.give_up(error)
    from arch.kernels.runtime.jit import compiling_seconds

    return float(sum(compiling_seconds))


def _small_model(spec: str) -> SequenceModel | None:
    """Return a small model of a built-in architecture, or None if there is none of this spec."""
    if Spec.parse_stored(spec).name not in built_in():
        return None
    for width in WIDTHS:
        with contextlib.suppress(ValueError):
            return build(spec, channels=1, outputs=1, width=width, depth=1, seed=0)
    return None


def _run_once(model: SequenceModel) -> None:
    """Train a model for one step, and stream through it."""
    x_BTD = torch.zeros(2, STEPS, 1)
    outputs_BTO, _ = model.scan(x_BTD, model.init_state(2))
    outputs_BTO.sum().backward()
    with torch.inference_mode():
        model.scan(x_BTD, model.init_state(2))
        model.stream(x_BTD, model.init_state(2))
