"""What is remembered at and beyond the trained length, all tasks together: for more tasks than fit a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import memory_share
from reports.analysis.ranking import Estimate
from reports.figures.axes import interval_bar, score_axis
from reports.figures.canvas import PALE, Figure, PlotStyle, figure, finished, legend, plot_styles, positions_axis, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_WIDTH, PANEL_HEIGHT, MIN_WIDTH = 2.6, 4.1, 5.4
MAX_PANELS = 4

Means = dict[str, dict[int, Estimate]]
"""By architecture and tested length."""


def memory_share_against_length_figure(found: Sequence[Group]) -> Figure | None:
    """A panel per trained length, the longest where there are many; None where no setting is shared."""
    panels = {length: _means([group for group in found if group.length == length]) for length in _lengths(found)}
    kept = {length: panel for length, (_, panel) in panels.items() if panel}
    if not kept:
        return None
    colours = plot_styles(archs_of(found))
    shown = {arch: mark for arch, mark in colours.items() if any(arch in means for means in kept.values())}
    title = "What is remembered against length, all tasks together"
    with style():
        drawn = figure(max(MIN_WIDTH, PANEL_WIDTH * len(kept)), PANEL_HEIGHT)
        every = drawn.subplots(1, len(kept), squeeze=False, sharey=True)[0]
        for axes, (trained, means) in zip(every, kept.items(), strict=True):
            _panel(axes, trained, means, colours)
            axes.set_title(f"trained at {trained:,}: {panels[trained][0]} tasks")
        drawn.supxlabel("length at which the trained model is tested (steps)", fontsize=9)
        drawn.supylabel("remembered share (mean over tasks)", fontsize=9)
        legend(drawn, shown)
        told = "; ".join(
            f"trained at {trained}, {arch}: "
            + ", ".join(f"{estimate.mean:.2f} at {length}" for length, estimate in by_length.items())
            for trained, means in kept.items()
            for arch, by_length in means.items()
        )
        return finished(
            drawn,
            name="remembered-against-length",
            title=title,
            told=told,
            how_to_read=(
                "0 is the score that needs no memory, 1 a perfect score; the mean over tasks with the 95% interval of "
                "that mean over seeds. The vertical line marks the trained length. Each task by itself stands below."
            ),
        )


def _lengths(found: Sequence[Group]) -> list[int]:
    return sorted({group.length for group in found})[-MAX_PANELS:]


def _means(rivals: Sequence[Group]) -> tuple[int, Means]:
    """The number of tasks that all architectures share at all their lengths, and the means over these."""
    archs = archs_of(rivals)
    shares: dict[str, Means] = {}
    for group in rivals:
        by_length = {length: memory_share(group, length) for length in group.evaluated_lengths()}
        shares.setdefault(group.task, {})[group.arch] = {
            length: Estimate.of(kept) for length, kept in by_length.items() if len(kept) > 1
        }
    lengths = sorted({length for row in shares.values() for means in row.values() for length in means})
    shared = [row for row in shares.values() if all(set(lengths) <= set(row.get(arch, {})) for arch in archs)]
    if not shared or not lengths:
        return 0, {}
    return len(shared), {
        arch: {length: Estimate.over([row[arch][length] for row in shared]) for length in lengths} for arch in archs
    }


def _panel(axes: Axes, trained: int, means: Means, colours: dict[str, PlotStyle]) -> None:
    axes.axvline(trained, color=PALE, linewidth=1.0)
    lengths = sorted({length for by_length in means.values() for length in by_length})
    for place, (arch, by_length) in enumerate(means.items()):
        mark = colours[arch]
        beside = 1 + min(0.07, 0.4 / len(means)) * (place - (len(means) - 1) / 2)
        across = [length * beside for length in by_length]
        heights = [estimate.mean for estimate in by_length.values()]
        axes.plot(across, heights, color=mark.colour, marker=mark.marker, linestyle=mark.dash, zorder=3)
        for x, estimate in zip(across, by_length.values(), strict=True):
            interval_bar(axes, x, estimate.interval(), mark.colour)
    positions_axis(axes, lengths)
    axes.set_xlim(lengths[0] / 1.35, lengths[-1] * 1.35)
    score_axis(axes)
