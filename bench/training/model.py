"""A case's model: where the words of a task meet the sizes of an architecture."""

from __future__ import annotations

import arch
import tasks
from results import Case


def build_model(case: Case, task: tasks.Task) -> arch.SequenceModel:
    """The untrained model of a case, its weights drawn from the case's seed."""
    return _build(case.arch, task, depth=case.depth, params=case.params, width=case.width, seed=case.seed)


def check_model(spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None) -> int:
    """How many parameters the model would have; nothing is allocated. Raises `ValueError` where it is impossible."""
    return arch.parameter_count(_sketch(spec, task, depth=depth, params=params, width=width))


def train_step_flops(case: Case, task: tasks.Task, length: int) -> int | None:
    """FLOPs of one training step of the case's model, where its architecture states them; nothing is allocated."""
    model = _sketch(case.arch, task, depth=case.depth, params=case.params, width=case.width)
    return model.train_step_flops(case.protocol.batch, length)


def _sketch(
    spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None
) -> arch.SequenceModel:
    with arch.meta_device():
        return _build(spec, task, depth=depth, params=params, width=width, seed=None)


def _build(
    spec: str | arch.Arch, task: tasks.Task, *, depth: int, params: int | None, width: int | None, seed: int | None
) -> arch.SequenceModel:
    reads = task.inputs
    return arch.build(
        spec,
        outputs=task.targets.size,
        vocabulary=reads.size if isinstance(reads, tasks.Tokens) else None,
        channels=reads.size if isinstance(reads, tasks.Reals) else None,
        width=width,
        params=params,
        depth=depth,
        seed=seed,
    )
