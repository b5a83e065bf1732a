"""Inside the memory: every figure that the `gates` probe and the fit of a fixed training set make possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reports.analysis.groups import Group, Seed, group_cases
from reports.analysis.traces import settings_of, single_seed_group, slug
from reports.figures.canvas import Figure, Form
from reports.figures.gates import attention_figure, gates_figure
from reports.figures.learning import learning_figure
from reports.figures.overfitting import alternative_trainings, overfitting_figure
from reports.figures.retention import retention_figure
from reports.figures.traces import gradient_trace_figure, memory_trace_figure
from results import Record, RunFile, Traces

FORMS: tuple[Form, ...] = ("svg", "png")


def shown_cases(run: RunFile, records: Sequence[Record]) -> list[str]:
    """The keys of the cases whose gates a page shows: on the first task and length, each model's first traced seed.

    The others are drawn one by one on demand: a page of all of them would be too long to be read.
    """
    found = group_cases(run, records)
    other = alternative_trainings(found)
    kept: dict[str, str] = {}
    for group in found:
        if (group.task, group.length) == (found[0].task, found[0].length) and group not in other:
            for record in group.records:
                if "traces" in record.artifacts:
                    kept.setdefault(group.arch, record.key)
    return list(kept.values())


def model_internals_figures(found: Sequence[Group], traces: Mapping[str, Traces]) -> list[Figure]:
    """The figures of a run, those that compare architectures first."""
    other = alternative_trainings(found)
    plain = [group for group in found if group not in other]
    drawings: list[Figure | None] = []
    for task, length in settings_of(found):
        drawings += [
            learning_figure(plain, task=task, length=length),
            overfitting_figure(found, task=task, length=length),
        ]
    drawings += [memory_trace_figure(plain), gradient_trace_figure(plain)]
    drawings += [retention_figure(plain, task=task, length=length) for task, length in settings_of(plain)]
    for group in found:
        for seed in group.seeds:
            if seed.key in traces:
                drawings += _of_traces(group, seed.case.seed, traces[seed.key])
    return [drawing for drawing in drawings if drawing is not None]


def case_figures(run: RunFile, records: Sequence[Record], key: str, traces: Traces | None) -> list[Figure]:
    """The figures of one case alone, called and coloured as on the page of its run, each title naming the case.

    Each has a file name of its own, so that many cases can be drawn into one folder.
    """
    for group in group_cases(run, records):
        for seed in group.seeds:
            if seed.key == key:
                alone = [single_seed_group(group, seed)]
                gates, attention = (None, None) if traces is None else _of_traces(group, seed.case.seed, traces)
                drawings = {
                    "learning": learning_figure(alone, task=group.task, length=group.length),
                    "gates": gates,
                    "attention": attention,
                    "holding": retention_figure(alone, task=group.task, length=group.length),
                    "memory-trace": memory_trace_figure(alone),
                    "gradient-trace": gradient_trace_figure(alone),
                }
                name = _file_name(seed)
                return [
                    replace(_titled(one, group.arch, seed.case.seed), name=f"{kind}-{name}")
                    for kind, one in drawings.items()
                    if one is not None
                ]
    return []


def write_case_figures(drawings: Sequence[Figure], folder: Path) -> list[Path]:
    """Each figure as SVG and as PNG, its title above it. Raises `OSError` where `folder` cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawing in drawings:
        assert drawing.file is not None
        for form in FORMS:
            path = folder / f"{drawing.name}.{form}"
            path.write_bytes(drawing.file(form, drawing.title))
            written.append(path)
    return written


def _titled(drawing: Figure, arch: str, seed: int) -> Figure:
    """With the case in its title; gates and attention name theirs already."""
    named = arch in drawing.title and drawing.title.endswith(f"seed {seed}")
    return drawing if named else replace(drawing, title=f"{drawing.title}: {arch}, seed {seed}")


def _file_name(seed: Seed) -> str:
    """Readable and short first, exact last: the key's digest tells variants, sizes and protocols apart."""
    arch, task = (slug(spec.partition(":")[0]) for spec in (seed.case.arch, seed.case.task))
    return f"{arch}-{task}-{seed.case.seed}-{seed.key.rpartition('.')[2]}"


def _of_traces(group: Group, seed: int, traces: Traces) -> tuple[Figure | None, Figure | None]:
    of = f"{group.arch} on {group.task}, seed {seed}"
    name = f"{group.arch} {group.task} {seed}"
    return gates_figure(traces, of=of, name=name), attention_figure(traces, of=of, name=name)
