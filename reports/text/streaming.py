"""Sentences on streaming: the cost of a step in the loop, what a call from Python adds, and what chunks change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reports.analysis.groups import Group
from reports.analysis.streaming.chunks import chunk_costs
from reports.analysis.streaming.deadlines import deadline_rows
from reports.analysis.streaming.growth import growths_by_arch
from reports.analysis.streaming.step_costs import StepCost, marked, ranked
from reports.format.numbers import duration, listed, microseconds, percent, significant
from reports.text.growth import brief_growth
from reports.text.timing_quality import single_process_sentence
from results import Growth

CALLED = "called from Python"
"""What headings say of a run whose steps were timed only as calls from Python."""
MANY_STEPS = 1_000_000
"""The number of steps of a complete deadline test. A sentence names a smaller number."""
LIMIT_EXPLANATION = (
    "The share of the limit is the measured FLOP rate divided by the best rate of this machine at the same sizes (the "
    "roofline model of Williams, Waterman and Patterson, 2009). For whole sequences, the limit is the rate of the "
    "fastest matrix product, over one step of the batch or over all its steps. For a streamed step inside the compiled "
    "loop, it is the lower of the rate of multiply-adds in registers and the step's FLOPs per byte times the read "
    "bandwidth of a compiled loop, over as much memory as the step moves. A low share is due to the implementation, "
    "not to the architecture. Only matrix products count as FLOPs. A dash means that the limit was not measured, that "
    "the architecture does not state its FLOPs, or that its steps are called from Python."
)
"""What the share of the roofline limit means."""


def streaming_conclusions(groups: Sequence[Group], costs: dict[str, list[StepCost]]) -> list[str]:
    """Return sentences on the cost of a streamed step, the call from Python, chunks and deadlines, in this order.

    One sentence names the architectures whose steps a single process timed.

    Further sentences say why requested measurements are missing. A sentence is left out if nothing of its kind was
    measured. `costs` is the result of `step_costs_by_arch(groups)`.
    """
    if not costs:
        return []
    comparable = ranked(costs)
    growths = growths_by_arch(groups)
    end = max(own_costs[-1].position for own_costs in comparable.values())
    how = "inside a compiled loop" if any(own[-1].timing == "compiled" for own in comparable.values()) else CALLED
    sentences = [f"Cost of a streamed step at position {end:,}, {how}: {_cheapest_first(comparable, growths, end)}."]
    if others := {arch: own_costs for arch, own_costs in costs.items() if arch not in comparable}:
        sentences.append(f"Not ranked among these, because {CALLED}: {_cheapest_first(others, growths, end)}.")
    added = [
        f"{microseconds(last.added_seconds)} µs for {arch}{_elsewhere(last, end, ' (at', ')')}"
        for arch, own_costs in comparable.items()
        for last in own_costs[-1:]
        if last.added_seconds is not None
    ]
    if added:
        sentences.append(f"A call from Python adds {listed(added)}.")
    if single := single_process_sentence(costs):
        sentences.append(single)
    return [
        *sentences,
        *_chunk_sentences(groups, costs),
        *_deadline_sentences(groups, costs),
        *_limitation_sentences(groups),
    ]


def _cheapest_first(costs: dict[str, list[StepCost]], growths: Mapping[str, Growth], end: int) -> str:
    """Return the last cost of each architecture, with its growth and its share of the limit if they are known.

    Costs at other positions than `end` come last, each with its position.
    """
    parts = []
    for arch, own_costs in sorted(
        costs.items(), key=lambda item: (item[1][-1].position != end, item[1][-1].p50_seconds)
    ):
        last = own_costs[-1]
        share = "" if last.limit_share is None else f"{percent(last.limit_share)} of the limit"
        growth = brief_growth(own_costs, growths.get(arch))
        details = "; ".join(filter(None, [_elsewhere(last, end, "at", ""), growth, share]))
        parts.append(
            f"{marked(arch, last.timing)} {microseconds(last.p50_seconds)} µs{f' ({details})' if details else ''}"
        )
    return ", ".join(parts)


def _elsewhere(cost: StepCost, end: int, before: str, after: str) -> str:
    """Return the position of a cost between two texts; an empty text if the position is `end`."""
    return "" if cost.position == end else f"{before} position {cost.position:,}{after}"


def _chunk_sentences(groups: Sequence[Group], costs: dict[str, list[StepCost]]) -> list[str]:
    """Return one sentence on the largest chunk of each architecture, or an empty list without chunks."""
    by_size: dict[tuple[int, int], list[str]] = {}
    for arch, chunks in chunk_costs(groups).items():
        largest = max(chunks, key=lambda cost: (cost.chunk, cost.position))
        name = marked(arch, costs[arch][-1].timing) if arch in costs else arch
        by_size.setdefault((largest.chunk, largest.position), []).append(
            f"{microseconds(largest.step_seconds)} µs per step for {name} (answer after "
            f"{duration(largest.answer_seconds)})"
        )
    return [
        f"If {chunk:,} steps arrive at once at position {position:,}, they cost {listed(parts)}."
        for (chunk, position), parts in by_size.items()
    ]


def _deadline_sentences(groups: Sequence[Group], costs: dict[str, list[StepCost]]) -> list[str]:
    parts: dict[tuple[float, int], list[str]] = {}
    for row in deadline_rows(groups):
        name = marked(row.arch, costs[row.arch][-1].timing) if row.arch in costs else row.arch
        worst = "" if row.worst_seconds is None else f", worst {duration(row.worst_seconds)}"
        late = f"{significant(100 * row.late_share, 2)}%"
        few = "" if row.steps is None or row.steps >= MANY_STEPS * row.cases else f" of {row.steps:,} steps"
        parts.setdefault((row.deadline_seconds, row.position), []).append(f"{name} {late}{few}{worst}")
    return [
        f"Share of steps later than {duration(deadline)} at position {position:,}: {'; '.join(names)}."
        for (deadline, position), names in parts.items()
    ]


def _limitation_sentences(groups: Sequence[Group]) -> list[str]:
    """Return one sentence per reason for which requested measurements are missing."""
    archs: dict[str, dict[str, None]] = {}
    for group in groups:
        for record in group.records:
            probe = record.probes.get("streaming")
            if probe is not None and probe.status == "ok" and probe.reason:
                archs.setdefault(probe.reason, {})[group.arch] = None
    return [f"Streaming of {listed(list(names))}: {reason}." for reason, names in archs.items()]
