"""Figures of model internals, drawn from the `gates` probe and from the measured fit to the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reports.analysis.groups import Group, Seed, group_cases
from reports.analysis.traces import settings_of, single_seed_group, slug
from reports.analysis.trainings import alternative_trainings
from reports.figures.drawing.canvas import Figure, Form
from reports.figures.drawing.scale import Scale, drawn_at
from reports.figures.gates import GatesView, attention_figure, gates_figure
from reports.figures.learning import learning_figure
from reports.figures.overfitting import overfitting_figure
from reports.figures.retention import retention_figure
from reports.figures.traces import gradient_trace_figure, memory_trace_figure
from reports.format.numbers import listed
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


def case_figures(
    run: RunFile,
    records: Sequence[Record],
    key: str,
    traces: Traces | None,
    view: GatesView | None = None,
    scale: Scale = "page",
) -> list[Figure]:
    """Return the figures of one case, labelled as on the page of the run.

    Every title names the architecture and the seed. Figure names are unique, so that the figures of many cases can
    share a folder. The learning curve is drawn even if the fit to the training set was not measured.

    Args:
        run: The run of the case.
        records: All records of the run, which determine the label.
        key: The key of the case. The list is empty if no case has this key.
        traces: The traces of the case; None to draw no gates and no attention.
        view: The layer, the sequence and the units to draw; None for the first of each.
        scale: `page`, or `slide` for larger text in the format of a slide.

    Raises `ViewError` if the traces lack what `view` asks for.
    """
    view = view or GatesView()
    for group in group_cases(run, records):
        for seed in group.seeds:
            if seed.key == key:
                single = [single_seed_group(group, seed)]
                with drawn_at(scale):
                    gates, attention = (
                        (None, None) if traces is None else _traces_figures(group, seed.case.seed, traces, view)
                    )
                    figures = {
                        "learning": learning_figure(single, task=group.task, length=group.length, needs_fit=False),
                        f"gates{view.suffix}": gates,
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


def drawable(record: Record, traces: Traces | None) -> list[str]:
    """Return what `case_figures` can draw of a case, in words: `learning curve`, `gates of layers 1 and 2`.

    `traces` are the traces of the case, or None if there are none.
    """
    with_gates = [] if traces is None else sorted({int(name.partition(".")[0]) for name in traces.gates})
    only_states = [] if traces is None or with_gates or traces.attention else traces.layers
    drawn = {
        "learning curve": record.training is not None and bool(record.training.curve),
        f"gates of {_layers_in_words(with_gates)}": bool(with_gates),
        f"output of {_layers_in_words(only_states)}": bool(only_states),
        "attention": traces is not None and bool(traces.attention),
        "hold gates": bool(record.of("forget_share")),
        "memory of the first input": bool(record.of("memory_trace")),
        "gradients": bool(record.of("gradient_trace")),
    }
    return [what for what, is_drawn in drawn.items() if is_drawn]


def _layers_in_words(layers: Sequence[int]) -> str:
    return f"layer{'s' if len(layers) > 1 else ''} {listed([str(layer + 1) for layer in layers])}" if layers else ""


def write_case_figures(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write each figure with its title and caption as SVG and as PNG, and return the paths.

    `folder` is created if it does not exist. Raises `OSError` if `folder` cannot be
    written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
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


def _traces_figures(
    group: Group, seed: int, traces: Traces, view: GatesView | None = None
) -> tuple[Figure | None, Figure | None]:
    subject = f"{group.arch} on {group.task}, seed {seed}"
    name = f"{group.arch} {group.task} {seed}"
    gates = gates_figure(traces, subject=subject, name=name, view=view)
    return gates, attention_figure(traces, subject=subject, name=name)
