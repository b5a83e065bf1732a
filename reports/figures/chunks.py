"""The figure of chunks: what a step costs, and when the answer comes, if several steps arrive at once."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group, archs_of, group_cases
from reports.analysis.streaming.chunks import ChunkCost, chunk_costs
from reports.analysis.streaming.step_costs import StepCost, marked, ranked, step_costs_by_arch
from reports.figures.drawing.alternative_text import extreme, name_all
from reports.figures.drawing.axes import positions_axis, thinned, time_axis
from reports.figures.drawing.bands import BACKGROUND, CONTEXT_LINE, MAX_LINES, banded_figure
from reports.figures.drawing.canvas import Figure, figure_style, finish_figure, legend, plot_styles
from reports.figures.drawing.markers import marked_line, marker_fill
from reports.figures.drawing.tables import figure_table
from reports.format import numbers
from reports.text.timing_quality import INTERPRETED_MARKERS, NOISY_MARKERS
from results import Record, RunFile


def _step_seconds(cost: ChunkCost) -> float:
    return cost.step_seconds


def _answer_seconds(cost: ChunkCost) -> float:
    return cost.answer_seconds


PANELS = {"time per step (µs)": _step_seconds, "time until the answer (µs)": _answer_seconds}
"""The quantity of each panel by the label of its axis."""


def chunk_cost(run: RunFile, records: Sequence[Record]) -> Figure | None:
    """Draw the cost per step and the time until the answer against the size of a chunk. Returns None without chunks."""
    return chunk_cost_figure(group_cases(run, records))


def chunk_cost_figure(groups: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> Figure | None:
    """Draw the cost per step and the time until the answer against the size of a chunk. Returns None without chunks.

    If chunks were timed at several positions, only the last one is drawn. `costs` is the result of
    `step_costs_by_arch(groups)`, which is computed if it is None.
    """
    all_costs = chunk_costs(groups)
    if not all_costs:
        return None
    position = max(cost.position for own_costs in all_costs.values() for cost in own_costs)
    chunks = {
        arch: drawn
        for arch, own_costs in all_costs.items()
        if (drawn := [cost for cost in own_costs if cost.position == position])
    }
    single = step_costs_by_arch(groups) if costs is None else costs
    timings = {arch: own_costs[-1].timing for arch, own_costs in single.items()}
    names = {arch: marked(arch, timings.get(arch)) for arch in chunks}
    styles = plot_styles(archs_of(groups))
    sizes = sorted({cost.chunk for own_costs in chunks.values() for cost in own_costs})
    with figure_style():
        figure, bands = banded_figure(styles, chunks, width=7.4, height=4.2 if len(chunks) <= MAX_LINES else 3.1)
        for band in bands:
            for axes, (title, seconds_of) in zip(band.figure.subplots(1, 2), PANELS.items(), strict=True):
                for arch, own_costs in chunks.items():
                    xs = [cost.chunk for cost in own_costs]
                    ys = [1e6 * seconds_of(cost) for cost in own_costs]
                    style = band.styles.get(arch)
                    if style is None:
                        axes.plot(xs, ys, **CONTEXT_LINE)
                        continue
                    fills = [marker_fill(timings.get(arch), noisy=cost.noisy) for cost in own_costs]
                    marked_line(axes, xs, ys, style, fills)
                positions_axis(axes, thinned(sizes))
                time_axis(axes, "y", [1e6 * seconds_of(cost) for own_costs in chunks.values() for cost in own_costs])
                axes.set_ylabel(title)
            legend(band.figure, {names[arch]: style for arch, style in band.styles.items()})
        figure.supxlabel("steps that arrive at once", fontsize=9)
        largest = {arch: own[-1].step_seconds for arch, own in chunks.items() if own[-1].chunk == sizes[-1]}
        comparable = {arch: seconds for arch, seconds in largest.items() if arch in ranked(single)} or largest
        return finish_figure(
            figure,
            name="chunk-cost",
            title="Steps that arrive at once",
            alternative=(
                f"Time per step and time until the answer of {name_all(chunks)} against the number of steps that "
                f"arrive at once at position {position:,}; with {sizes[-1]:,} steps, the time per step is "
                f"{extreme([comparable], 'lowest', choose=min, write=_microseconds)} and "
                f"{extreme([comparable], 'highest', write=_microseconds)}."
            ),
            description="; ".join(
                f"{names[arch]}: "
                + ", ".join(
                    f"{numbers.microseconds(cost.step_seconds)} µs per step in chunks of {cost.chunk}"
                    for cost in own_costs
                )
                for arch, own_costs in chunks.items()
            ),
            table=figure_table(
                ("architecture", "position", "steps", "time per step, µs", "answer after", "timings"),
                (
                    (
                        names[arch],
                        numbers.count(cost.position),
                        numbers.count(cost.chunk),
                        numbers.microseconds(cost.step_seconds),
                        numbers.duration(cost.answer_seconds),
                        "noisy" if cost.noisy else "sound",
                    )
                    for arch, own_costs in chunks.items()
                    for cost in own_costs
                ),
            ),
            how_to_read=(
                f"A stream at position {position:,} reads a chunk of steps, called from Python. A falling line on the "
                "left means that waiting for more steps makes each of them cheaper. The right panel shows what one "
                "waits for: the time from the arrival of the chunk to the answer."
                + INTERPRETED_MARKERS * any(timings.get(arch) == "interpreted" for arch in chunks)
                + NOISY_MARKERS * any(cost.noisy for own_costs in chunks.values() for cost in own_costs)
                + BACKGROUND * (len(bands) > 1)
            ),
            headed=False,
        )


def _microseconds(seconds: float) -> str:
    return f"{numbers.microseconds(seconds)} µs"
