"""Ratios of torch.nn's times to Carousel's: their aims, their means over cells, and their tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.perf.baselines import Timed

POSITION = 1024
"""Number of steps that are recomputed. The cached step computes only the last of these steps."""
TRAINING = {"rnn": "nn.RNN", "lstm": "nn.LSTM", "gru": "nn.GRU", "transformer": "nn.TransformerEncoder"}
"""Counterparts in training."""
AIMS = {
    ("rnn", "training"): 2.0,
    ("lstm", "training"): 1.3,
    ("gru", "training"): 2.5,
    ("transformer", "training"): 1.15,
    ("rnn", "the faster of nn.RNN, nn.RNNCell"): 2.0,
    ("lstm", "nn.LSTM, T=1"): 8.0,
    ("lstm", "nn.LSTMCell"): 2.5,
    ("gru", "the faster of nn.GRU, nn.GRUCell"): 2.5,
    ("transformer", f"recomputing at {POSITION:,}"): 100.0,
}
"""Smallest mean ratio by architecture and counterpart. The counterpart in training is that of `TRAINING`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of sizes and threads: torch.nn's time divided by Carousel's, with its bootstrap interval."""

    label: str
    ratio: float
    low: float
    high: float
    width: int
    length: int = 1
    threads: int = 1
    share: float | None = None
    """Carousel's share of the machine's limit, in training."""

    @staticmethod
    def of(timed: Timed, contestant: int, label: str, width: int) -> Cell:
        """Return a streaming cell: the contestant's time divided by that of contestant 0.

        Args:
            timed: Times of Carousel and its contestants.
            contestant: Index of the contestant.
            label: Description of the cell.
            width: Units per layer.
        """
        ratio, low, high = timed.ratio(contestant)
        return Cell(label=label, ratio=ratio, low=low, high=high, width=width)


@dataclass
class Figure:
    """One row of the table of means."""

    name: str
    counterpart: str
    cells: list[Cell] = field(default_factory=list)

    @property
    def label(self) -> str:
        if self.counterpart == "training":
            return f"`{self.name}`: training step vs {TRAINING[self.name]}"
        return f"`{self.name}`: called step vs {self.counterpart}"

    @property
    def aim(self) -> float:
        return AIMS[self.name, self.counterpart]

    @property
    def worst(self) -> Cell:
        return min(self.cells, key=lambda cell: cell.ratio)

    @property
    def mean(self) -> float:
        return statistics.geometric_mean(cell.ratio for cell in self.cells)

    def verdict(self) -> tuple[str, bool]:
        """Return what was measured, and whether the mean reaches its aim and no ratio is below 1."""
        worst = self.worst
        told = f"{self.label}: {self.mean:.2f}× of {self.aim:g}×, the worst {worst.ratio:.2f}× at {worst.label}"
        return told, self.mean >= self.aim and worst.ratio >= 1


def means(figures: Iterable[Figure]) -> str:
    """Return the geometric means over cells as a Markdown table."""
    rows = ["| | mean | 95% interval | worst cell | share of the limit | aim |", "|---|---|---|---|---|---|"]
    for figure in figures:
        low, high = (
            statistics.geometric_mean(bounds) for bounds in zip(*((c.low, c.high) for c in figure.cells), strict=True)
        )
        shares = [cell.share for cell in figure.cells if cell.share is not None]
        share = f"{statistics.geometric_mean(shares):.0%}" if shares else ""
        numbers = f"{figure.mean:.2f} | {low:.2f}–{high:.2f} | {figure.worst.ratio:.2f} | {share} | {figure.aim:g}"
        rows.append(f"| {figure.label} | {numbers} |")
    return "\n".join(rows)


def by_size(figures: Iterable[Figure]) -> str:
    """Return the ratios of training steps by length and width as a Markdown table, with one ratio per thread count."""
    trained = [figure for figure in figures if figure.counterpart == "training"]
    widths = sorted({cell.width for figure in trained for cell in figure.cells})
    rows = []
    for figure in trained:
        for length in sorted({cell.length for cell in figure.cells}):
            chosen = [cell for cell in figure.cells if cell.length == length]
            rows.append((f"`{figure.name}`, {length}", [_ratios(chosen, width) for width in widths]))
    return "\n".join(_rows("model, T", widths, rows))


def by_width(figures: Iterable[Figure]) -> str:
    """Return the ratios of called steps by width as a Markdown table."""
    streamed = [figure for figure in figures if figure.counterpart != "training"]
    widths = sorted({cell.width for figure in streamed for cell in figure.cells})
    rows = [(f"`{one.name}` vs {one.counterpart}", [_ratios(one.cells, width) for width in widths]) for one in streamed]
    return "\n".join(_rows("", widths, rows))


def _ratios(cells: Sequence[Cell], width: int) -> str:
    """Return the geometric mean over the cells of a width, for each number of threads."""
    chosen = [cell for cell in cells if cell.width == width]
    by_threads = [[cell.ratio for cell in chosen if cell.threads == n] for n in sorted({c.threads for c in chosen})]
    return ", ".join(_digits(statistics.geometric_mean(ratios)) for ratios in by_threads)


def _digits(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"


def _rows(title: str, widths: Sequence[int], rows: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(f"H {width}" for width in widths) + " |"
    yield "|---" * (1 + len(widths)) + "|"
    for label, ratios in rows:
        yield f"| {label} | " + " | ".join(ratios) + " |"
