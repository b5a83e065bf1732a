"""Figures of model internals, drawn from the `gates` probe and from the measured fit to the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reports.analysis.groups import Group, Seed, group_cases
from reports.analysis.traces import settings_of, single_seed_group, slug
from reports.analysis.trainings import alternative_trainings
from reports.figures.drawing.canvas import Figure, Form
from reports.figures.gates import attention_figure, gates_figure
from reports.figures.learning import learning_figure
from reports.figures.overfitting import overfitting_figure
from reports.figures.retention import retention_figure
from reports.figures.traces import gradient_trace_figure, memory_trace_figure
from results import Record, RunFile, Traces, write_output_file
from results.specs import Spec

FORMS: tuple[Form, ...] = ("svg", "png")


def shown_cases(run: RunFile, records: Sequence[Record]) -> list[str]:
    """Return the keys of the cases whose gates or attention appear on the page.

    To keep the page short, each architecture has at most one such case. This case is its first traced seed in the first
    setting. Alternative trainings are left out. `case_figures` draws the figures of any case.
    """
    groups = group_cases(run, records)
    alternatives = alternative_trainings(groups)
    keys: dict[str, str] = {}
    for group in groups:
        if (group.task, group.length) == (groups[0].task, groups[0].length) and group not in alternatives:
            for record in group.records:
                if "traces" in record.artifacts:
                    keys.setdefault(group.arch, record.key)
    return list(keys.values())


def model_internals_figures(groups: Sequence[Group], traces: Mapping[str, Traces]) -> list[Figure]:
    """Return the figures that compare architectures, followed by figures of single cases.

    Figures of single cases show gates or attention. `traces` holds the traces of these cases by case key.
    """
    alternatives = alternative_trainings(groups)
    plain = [group for group in groups if group not in alternatives]
    figures: list[Figure | None] = []
    for task, length in settings_of(groups):
        figures += [
            learning_figure(plain, task=task, length=length),
            overfitting_figure(groups, task=task, length=length),
        ]
    figures += [memory_trace_figure(plain), gradient_trace_figure(plain)]
    figures += [retention_figure(plain, task=task, length=length) for task, length in settings_of(plain)]
    for group in groups:
        for seed in group.seeds:
            if seed.key in traces:
                figures += _traces_figures(group, seed.case.seed, traces[seed.key])
    return [figure for figure in figures if figure is not None]


def case_figures(run: RunFile, records: Sequence[Record], key: str, traces: Traces | None) -> list[Figure]:
    """Return the figures of one case, labelled as on the page of the run.

    Every title names the architecture and the seed. Figure names are unique, so that the figures of many cases can
    share a folder.

    Args:
        run: The run of the case.
        records: All records of the run, which determine the label.
        key: The key of the case. The list is empty if no case has this key.
        traces: The traces of the case; None to draw no gates and no attention.
    """
    for group in group_cases(run, records):
        for seed in group.seeds:
            if seed.key == key:
                single = [single_seed_group(group, seed)]
                gates, attention = (None, None) if traces is None else _traces_figures(group, seed.case.seed, traces)
                figures = {
                    "learning": learning_figure(single, task=group.task, length=group.length),
                    "gates": gates,
                    "attention": attention,
                    "retention": retention_figure(single, task=group.task, length=group.length),
                    "memory-trace": memory_trace_figure(single),
                    "gradient-trace": gradient_trace_figure(single),
                }
                name = _file_name(seed)
                return [
                    replace(_with_case_in_title(figure, group.arch, seed.case.seed), name=f"{kind}-{name}")
                    for kind, figure in figures.items()
                    if figure is not None
                ]
    return []


def write_case_figures(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write each figure with its title as SVG and as PNG, and return the paths.

    `folder` is created if it does not exist. Every figure needs a `render_file`. Raises `OSError` if `folder` cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
        assert figure.render_file is not None
        for form in FORMS:
            path = folder / f"{figure.name}.{form}"
            write_output_file(path, figure.render_file(form, figure.title))
            written.append(path)
    return written


def _with_case_in_title(figure: Figure, arch: str, seed: int) -> Figure:
    """Return the figure with architecture and seed added to its title, unless the title names both already."""
    named = arch in figure.title and figure.title.endswith(f"seed {seed}")
    return figure if named else replace(figure, title=f"{figure.title}: {arch}, seed {seed}")


def _file_name(seed: Seed) -> str:
    """Return a short file name without suffix. The name is unique because it ends in the digest of the case."""
    arch, task = (slug(Spec.parse_stored(spec).name) for spec in (seed.case.arch, seed.case.task))
    return f"{arch}-{task}-{seed.case.seed}-{seed.key.rpartition('.')[2]}"


def _traces_figures(group: Group, seed: int, traces: Traces) -> tuple[Figure | None, Figure | None]:
    subject = f"{group.arch} on {group.task}, seed {seed}"
    name = f"{group.arch} {group.task} {seed}"
    return gates_figure(traces, subject=subject, name=name), attention_figure(traces, subject=subject, name=name)
