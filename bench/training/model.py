"""The model of a case: an architecture with the inputs and outputs of a task."""

from __future__ import annotations

import safetensors.torch
import torch

import arch
import tasks
from bench.plugins.torch_state import preserved
from results import Budget, Case, Model


def build_model(case: Case, task: tasks.Task) -> arch.SequenceModel:
    """Build the untrained model of a case, with weights initialised from the case's seed.

    Raises `ValueError` if the spec of the architecture is invalid, or if the sizes of the case are impossible.
    """
    with preserved():
        return _build(case.arch, task, length=case.length, depth=case.depth, budget=case.budget, seed=case.seed)


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


def check_model(spec: str | arch.Arch, task: tasks.Task, *, length: int, depth: int, budget: Budget | None) -> int:
    """Return the number of parameters of a model without allocating it.

    Args:
        spec: A spec such as `lstm:bias=False`, or an `arch.Arch`.
        task: The task, which determines inputs and outputs.
        length: Trained length in steps. Budgets of state and of FLOPs refer to it.
        depth: Number of layers.
        budget: Size that the model should have.

    Raises:
        ValueError: If no such model can be built.
    """
    return arch.parameter_count(_build_on_meta(spec, task, length=length, depth=depth, budget=budget))


def model_on_meta(case: Case, task: tasks.Task) -> arch.SequenceModel:
    """Return the model of a case without its weights, for its sizes and FLOPs."""
    return _build_on_meta(case.arch, task, length=case.length, depth=case.depth, budget=case.budget)


def describe_model(case: Case, task: tasks.Task, model: arch.SequenceModel, *, measures_state: bool = True) -> Model:
    """Return the sizes of a model of a case, as a record states them. The state is measured by running two steps."""
    return Model(
        parameters=arch.parameter_count(model),
        layer_parameters=arch.parameter_count(model.layers),
        width=model.width,
        depth=case.depth,
        state_bytes=stream_state_bytes(model, task, case.length) if measures_state else None,
        step_flops=model.step_flops(case.length),
    )


def describe_on_meta(case: Case, task: tasks.Task, *, measures_state: bool = True) -> Model:
    """Return the sizes of the model of a case without allocating the model.

    Steps on the meta device take a tenth of a second. So `measures_state=False` leaves out the state.
    """
    model = model_on_meta(case, task)
    with arch.meta_device():
        return describe_model(case, task, model, measures_state=measures_state)


def stream_state_bytes(model: arch.SequenceModel, task: tasks.Task, length: int) -> int | None:
    """Return the bytes of the state of one stream after `length` steps, or None if the model cannot read them.

    The inputs are zeros, because no state takes more memory for other values.
    """
    inputs, device = task.inputs, next(model.parameters()).device
    if isinstance(inputs, tasks.Tokens):
        x = torch.zeros(1, length, dtype=torch.int64, device=device)
    else:
        x = torch.zeros(1, length, inputs.size, device=device)
    was_training = model.training
    with preserved():
        try:
            return model.eval().state_bytes_after(x)
        except (RuntimeError, ValueError):
            return None
        finally:
            model.train(was_training)


def _build_on_meta(
    spec: str | arch.Arch, task: tasks.Task, *, length: int, depth: int, budget: Budget | None
) -> arch.SequenceModel:
    with preserved(), arch.meta_device():
        return _build(spec, task, length=length, depth=depth, budget=budget, seed=None)


def _build(
    spec: str | arch.Arch, task: tasks.Task, *, length: int, depth: int, budget: Budget | None, seed: int | None
) -> arch.SequenceModel:
    inputs = task.inputs
    amounts = {} if budget is None else {budget.kind: budget.amount}
    return arch.build(
        spec,
        outputs=task.targets.size,
        vocabulary=inputs.size if isinstance(inputs, tasks.Tokens) else None,
        channels=inputs.size if isinstance(inputs, tasks.Reals) else None,
        width=amounts.get("width"),
        params=amounts.get("params"),
        layer_params=amounts.get("layer_params"),
        state=amounts.get("state"),
        step_flops=amounts.get("step_flops"),
        length=length,
        depth=depth,
        seed=seed,
    )
