"""A trial run: train and test a tiny model by the code of `carousel run`.

The checks of `bench.validation` call the methods of a layer or a task one by one. A run also reads what none of them
needs, such as the digest of a data set, the FLOPs of a step, or the reference scores at longer lengths.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import arch
import tasks
from bench.errors import UsageError
from bench.executors.jobs import TrainJob
from bench.executors.training_job import train_and_test
from bench.plans.grid import cases
from bench.plans.plan import Plan
from bench.plugins.sanity import describe_error
from bench.plugins.torch_state import preserved
from bench.training.model import describe_on_meta, model_on_meta
from results import Case

PARTNER_ARCH = "gru"
PARTNER_TASKS = ("first_last", "cycle_navigation")
"""Tasks for the trial of an architecture: one gives reals, the other tokens."""
LENGTH, BATCH = 8, 4
"""Number of time steps in the trial of an architecture, unless it reads fewer, and number of sequences in a batch."""
WIDTHS = (4, 8, *range(1, 65))
"""Widths to try. The first that the architecture accepts is used."""
PROTOCOL = {"steps": 2, "batch": BATCH, "evaluate_every": 1, "validation_sequences": 8, "test_sequences": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The plan of a trial run with one case."""

    arch: str
    task: str
    length: int
    width: int
    file: str
    """Source file of the architecture or task, whose line numbers are shown for exceptions."""

    @preserved()
    def failure(self) -> str | None:
        """Run the case, and return why it gives no score; None if it gives one."""
        try:
            return _failure(self)
        except UsageError as error:
            return str(error)
        except Exception as error:  # a plugin may raise any exception
            return f"raised {describe_error(error, self.file)}"


def trials_of_arch(spec: str) -> list[Trial]:
    """Return the trials of an architecture: on real inputs and on tokens."""
    file = inspect.getfile(arch.get(spec).layer)
    width, length = _accepted_size(spec)
    return [Trial(arch=spec, task=task, length=length, width=width, file=file) for task in PARTNER_TASKS]


def trials_of_task(spec: str) -> list[Trial]:
    """Return the trial of a task, at its shortest length."""
    task = tasks.build(spec)
    file = inspect.getfile(type(task))
    return [Trial(arch=PARTNER_ARCH, task=spec, length=task.min_length, width=WIDTHS[0], file=file)]


def _accepted_size(spec: str) -> tuple[int, int]:
    """Return a width and a length that an architecture accepts."""
    refusals = []
    for width in WIDTHS:
        try:
            with arch.meta_device():
                model = arch.build(spec, channels=1, outputs=1, width=width, depth=1)
        except ValueError as error:
            refusals.append(str(error))
            continue
        return width, min(LENGTH, model.max_length or LENGTH)
    raise arch.NoWidth.after(spec, WIDTHS[-1], refusals)


def _read_costs(case: Case) -> None:
    """Read the sizes and costs that estimates, reports and limits read. A plugin may raise any exception there."""
    task = tasks.build(case.task)
    describe_on_meta(case, task)
    model = model_on_meta(case, task)
    model.train_step_flops(BATCH, case.length)
    model.step_bytes(case.length)


def _failure(trial: Trial) -> str | None:
    plan = Plan(
        summary="a trial run",
        archs=(trial.arch,),
        tasks=(trial.task,),
        lengths=(trial.length,),
        seeds=1,
        width=trial.width,
        measure=("accuracy", "gates"),
        protocol=PROTOCOL,
    )
    (case,) = cases(plan)
    _read_costs(case)
    record = train_and_test(TrainJob(case=case, probes=plan.measure), lambda *_: None).record
    if record.status != "ok":
        return f"a run ends as {record.status}: {record.reason}"
    failed = {probe: ran.reason for probe, ran in record.probes.items() if ran.status != "ok"}
    return next((f"the probe {probe} fails: {reason}" for probe, reason in failed.items()), None)
