"""The model of a case: an architecture with the inputs and outputs of a task."""

from __future__ import annotations

import safetensors.torch
import torch

import arch
import tasks
from bench.plugins.torch_state import preserved
from results import Case


def build_model(case: Case, task: tasks.Task) -> arch.SequenceModel:
    """Build the untrained model of a case, with weights initialised from the case's seed.

    Raises `ValueError` if the spec of the architecture is invalid, or if the sizes of the case are impossible.
    """
    with preserved():
        return _build(case.arch, task, depth=case.depth, params=case.params, width=case.width, seed=case.seed)


def pack_weights(model: arch.SequenceModel) -> bytes:
    """Return the weights of a model as safetensors bytes, the format that `load_weights` reads.

    Parameters and buffers that share memory are written once per name.
    """
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return safetensors.torch.save(state)


def load_weights(model: arch.SequenceModel, packed: bytes) -> None:
    """Load the safetensors bytes of `pack_weights` into a model. Parameters that are shared remain shared."""
    model.load_state_dict(safetensors.torch.load(packed))


def check_model(spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None) -> int:
    """Return the number of parameters of a model without allocating it.

    Args:
        spec: A spec such as `lstm:bias=False`, or an `arch.Arch`.
        task: The task, which determines inputs and outputs.
        depth: Number of layers.
        params: Number of parameters to match; None if `width` is given.
        width: Width of the layers; None if `params` is given.

    Raises:
        ValueError: If no such model can be built.
    """
    return arch.parameter_count(_build_on_meta(spec, task, depth=depth, params=params, width=width))


def train_step_flops(case: Case, task: tasks.Task, length: int) -> int | None:
    """Return the FLOPs of one training step at `length` without allocating the model.

    Returns None if the architecture does not state its FLOPs.
    """
    model = _build_on_meta(case.arch, task, depth=case.depth, params=case.params, width=case.width)
    return model.train_step_flops(case.protocol.batch, length)


def _build_on_meta(
    spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None
) -> arch.SequenceModel:
    with preserved(), arch.meta_device():
        return _build(spec, task, depth=depth, params=params, width=width, seed=None)


def _build(
    spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None, seed: int | None
) -> arch.SequenceModel:
    inputs = task.inputs
    return arch.build(
        spec,
        outputs=task.targets.size,
        vocabulary=inputs.size if isinstance(inputs, tasks.Tokens) else None,
        channels=inputs.size if isinstance(inputs, tasks.Reals) else None,
        width=width,
        params=params,
        depth=depth,
        seed=seed,
    )
