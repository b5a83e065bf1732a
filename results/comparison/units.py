"""Reduce the measurements of two runs to independent units: seeds for scores, fresh processes for timings.

For a timing, each seed in a process contributes the logarithm of its median sample. The value of the process is the
mean over its seeds. Neither the blocks within a process nor the seeds that one process timed in turn are independent.

If one run took more samples per block than the other, only the first samples of each of its blocks count, as many as
the other run took. These are what the same code would have measured with the fewer samples. So the values of both runs
are medians of equally many samples, whose bias and spread within a process are the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from results.comparison.comparability import Difference
from results.comparison.pairing import Pair
from results.schema.metrics import METRICS, ComparedAs, Metric
from results.schema.record import Measurement, Record
from results.schema.run import Side
from results.statistics.noise import disturbed, median_calibration
from results.statistics.witness import Counter, counter_rates

At = tuple[tuple[str, int], ...]
"""Location of a measurement, such as `(("length", 64),)`."""
MetricLocation = tuple[str, At]
MODEL_SIZES: dict[str, Metric] = {
    name: Metric(
        title=title, unit=unit, better="lower", kind="size", compared_as="size", family=family, probe="accuracy"
    )
    for name, title, unit, family in (
        ("parameters", "parameters", "", None),
        ("model_state_bytes", "state at the length", "B", "state"),
        ("model_step_flops", "FLOPs per step at the length", "FLOP", "flops"),
    )
}
"""Sizes that are properties of the model and not measurements, so every case with a model has them. A missing size is
reported only if the new run requested `probe`."""
BENCHMARK_SECONDS = "benchmark_seconds"
BENCHMARK = Metric(
    title="time", unit="s", better="lower", kind="timing", compared_as="timing", family="benchmark", short_title="time"
)
"""The time of a benchmark of another program, which no run measures."""
COMPARED_METRICS: dict[str, Metric] = (
    {name: metric for name, metric in METRICS.items() if metric.compared_as is not None}
    | MODEL_SIZES
    | {BENCHMARK_SECONDS: BENCHMARK}
)
"""The metrics that are compared. Rows with the same verdict have this order."""
COMPARED_AS: dict[str, ComparedAs] = {
    name: metric.compared_as for name, metric in COMPARED_METRICS.items() if metric.compared_as is not None
}
"""How each metric is compared."""
OF_RUNS = {name: kind for name, kind in COMPARED_AS.items() if COMPARED_METRICS[name].probe is not None}
"""How each metric that a run can measure is compared."""
METRIC_FAMILIES: dict[str, tuple[str, ...]] = {
    family: tuple(name for name, metric in COMPARED_METRICS.items() if family in (metric.family, name))
    for family in dict.fromkeys([*(metric.family for metric in COMPARED_METRICS.values()), *COMPARED_METRICS])
    if family is not None
}
"""Metrics by the name that selects them in `--fail-on`. A name is a family or a single metric."""
Sides = tuple[tuple[float, ...], tuple[float, ...]]
"""Values of the baseline run and of the new run."""
MIN_SECONDS = 1e-12
"""Minimum duration, below the resolution of any clock. It replaces a duration of 0, so that the logarithm exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The values of a metric of a pair at a location, one per unit. Timings are logarithms of seconds."""

    pair: int
    """Index in the list of pairs."""
    metric: str
    at: At
    kind: ComparedAs
    base: tuple[float, ...]
    new: tuple[float, ...]
    noisy: float
    """Share of disturbed blocks on the noisier side."""
    sequences: int | None = None
    """Number of test sequences of each score; None for other metrics."""
    differences: tuple[Difference, ...] = ()
    """Differences in the number of samples or blocks."""
    times: tuple[float, ...] = ()
    """When each unit was measured, base first, on any scale; empty if all units of the base precede the new ones."""
    paired: bool = False
    """Whether units with equal indices are pairs of processes that were measured in turns."""
    cpu: Sides | None = None
    """Logarithms of the CPU seconds behind each unit of both runs; None if a unit lacks them. See `witness`."""
    instructions: Sides | None = None
    """Logarithms of the instructions behind each unit of both runs; None if a unit lacks them."""

    @property
    def higher_is_better(self) -> bool:
        return COMPARED_METRICS[self.metric].better == "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """A metric of a pair at one location, measured for a seed in one run but not in the other run."""

    pair: int
    seed: int
    run: Side
    """The run that did not measure the metric."""
    metric: str
    at: At


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedUnits:
    """The units of all metrics that both runs measured, and the metrics that only one run measured."""

    units: tuple[Units, ...]
    unmeasured: tuple[Unmeasured, ...]
    calibrations: tuple[float | None, float | None]
    """Median calibration seconds of the baseline run and of the new run; None for a run without timings."""

    @property
    def calibration_change(self) -> float:
        """Logarithm of the ratio of calibration seconds, new to base; 0 if a run has none."""
        before, after = self.calibrations
        return math.log(after / before) if before and after else 0.0


class _Samples:
    """The values that a run measured for a metric of a pair at a location."""

    __slots__ = ("blocks", "counts", "disturbed", "timings", "values", "witnesses")

    def __init__(self) -> None:
        self.values: dict[int, dict[int, float]] = {}
        """Values by process, then by seed."""
        self.counts: set[tuple[int, int]] = set()
        """Distinct combinations of sample count and block count."""
        self.timings: list[tuple[int, Measurement]] = []
        """Seeds and measurements of a timing."""
        self.disturbed = self.blocks = 0
        self.witnesses: dict[Counter, dict[int, dict[int, float]]] = {}
        """Logarithms of CPU seconds and instructions behind the timings, by counter, process and seed."""

    def add(self, process: int, seed: int, value: float) -> None:
        by_seed = self.values.get(process)
        if by_seed is None:
            self.values[process] = {seed: value}
        else:
            by_seed[seed] = value

    def add_timing(self, seed: int, measurement: Measurement, samples: Sequence[float]) -> None:
        """Add a timing, of which only `samples` count."""
        value = math.log(max(median(samples), MIN_SECONDS))
        self.add(measurement.process, seed, value)
        for counter, rate in counter_rates(measurement.blocks).items():
            by_process = self.witnesses.setdefault(counter, {})
            by_process.setdefault(measurement.process, {})[seed] = value + math.log(rate)
        self.counts.add((len(samples), len(measurement.blocks)))
        self.timings.append((seed, measurement))

    def samples_per_block(self) -> int | None:
        """Return the smallest number of samples per block, or None if a timing has not equally many in every block."""
        if any(not blocks or count % blocks for count, blocks in self.counts):
            return None
        return min((count // blocks for count, blocks in self.counts), default=None)

    def reduced(self, per_block: int) -> _Samples:
        """Return only the first `per_block` samples of each block of each timing."""
        fewer = _Samples()
        fewer.disturbed, fewer.blocks = self.disturbed, self.blocks
        for seed, measurement in self.timings:
            step = len(measurement.samples) // len(measurement.blocks)
            starts = range(0, len(measurement.samples), step)
            fewer.add_timing(
                seed, measurement, [each for start in starts for each in measurement.samples[start : start + per_block]]
            )
        return fewer

    def seeds(self) -> set[int]:
        return set().union(*self.values.values())

    def processes(self, seeds: Sequence[int]) -> set[int]:
        """Return the processes that measured all `seeds`."""
        required = set(seeds)
        return {process for process, by_seed in self.values.items() if required <= by_seed.keys()}

    def units(self, kind: ComparedAs, seeds: Sequence[int], processes: set[int]) -> tuple[float, ...]:
        """Return one value per seed or, for timings, one value per process in `processes`, in their order."""
        if kind != "timing":
            return tuple(self.values[0][seed] for seed in seeds if seed in self.values[0])
        return tuple(fmean([self.values[process][seed] for seed in seeds]) for process in sorted(processes))

    def witness(self, counter: Counter, seeds: Sequence[int], processes: set[int]) -> tuple[float, ...] | None:
        """Return one value of a counter per process, averaged over seeds; None if any is unknown."""
        by_process = self.witnesses.get(counter, {})
        required = set(seeds)
        if not processes or any(not required <= by_process.get(process, {}).keys() for process in processes):
            return None
        return tuple(fmean([by_process[process][seed] for seed in seeds]) for process in sorted(processes))

    @property
    def noisy(self) -> float:
        return self.disturbed / self.blocks if self.blocks else 0.0


def paired_units(
    pairs: Sequence[Pair], base: Iterable[Record], new: Iterable[Record], *, in_turns: bool = False
) -> PairedUnits:
    """Return the units of all metrics that both runs measured, and the metrics that only one run measured.

    Args:
        pairs: Paired cases of the two runs.
        base: All records of the baseline run, for its median calibration.
        new: All records of the new run, for its median calibration.
        in_turns: Whether equal processes of the two runs belong together. Then only processes count that measured a
            timing in both runs, so that the units of the two sides correspond.
    """
    calibrations = (median_calibration(base), median_calibration(new))
    units: list[Units] = []
    unmeasured: list[Unmeasured] = []
    for index, pair in enumerate(pairs):
        base_samples = _samples_by_location(pair.base, calibrations[0])
        new_samples = _samples_by_location(pair.new, calibrations[1])
        for location in sorted({*base_samples, *new_samples}):
            metric, at = location
            kind = COMPARED_AS[metric]
            before, after = (samples.get(location) or _Samples() for samples in (base_samples, new_samples))
            in_base, in_new = before.seeds(), after.seeds()
            unmeasured += [
                Unmeasured(pair=index, seed=seed, run="base" if seed in in_new else "new", metric=metric, at=at)
                for seed in sorted(in_base ^ in_new)
            ]
            seeds = [seed for seed in pair.base if seed in in_base and seed in in_new]
            if not seeds:
                continue
            before, after = _equal_counts(before, after)
            of_base, of_new = before.processes(seeds), after.processes(seeds)
            if in_turns:
                of_base = of_new = of_base & of_new
            units.append(
                Units(
                    pair=index,
                    metric=metric,
                    at=at,
                    kind=kind,
                    base=before.units(kind, seeds, of_base),
                    new=after.units(kind, seeds, of_new),
                    noisy=max(before.noisy, after.noisy),
                    sequences=pair.case.test_sequences_at(dict(at)) if kind == "score" else None,
                    differences=tuple(_count_differences(before.counts, after.counts)),
                    paired=in_turns and kind == "timing",
                    cpu=_witnesses("cpu_seconds", seeds, (before, of_base), (after, of_new)),
                    instructions=_witnesses("instructions", seeds, (before, of_base), (after, of_new)),
                )
            )
    return PairedUnits(units=tuple(units), unmeasured=tuple(unmeasured), calibrations=calibrations)


def _witnesses(
    counter: Counter, seeds: Sequence[int], base: tuple[_Samples, set[int]], new: tuple[_Samples, set[int]]
) -> Sides | None:
    """Return the values of a counter for both runs, each given by its samples and processes; None if any is unknown."""
    before, after = (samples.witness(counter, seeds, processes) for samples, processes in (base, new))
    return None if before is None or after is None else (before, after)


def _equal_counts(base: _Samples, new: _Samples) -> tuple[_Samples, _Samples]:
    """Reduce both sides to the smaller number of samples per block. Do nothing if that is equal or impossible."""
    before, after = base.samples_per_block(), new.samples_per_block()
    if base.counts == new.counts or before is None or after is None:
        return base, new
    return base.reduced(min(before, after)), new.reduced(min(before, after))


def _samples_by_location(records: dict[int, Record], calibration: float | None) -> dict[MetricLocation, _Samples]:
    """Return the samples of one pair in one run, by metric and location.

    `calibration` is the median calibration time of the run in seconds. If `calibration` is None, no block counts as
    disturbed. A large run has hundreds of thousands of measurements, so the loop avoids repeated look-ups.
    """
    by_location: dict[MetricLocation, _Samples] = {}
    for seed, record in records.items():
        for measurement in record.measurements:
            kind, samples, at = OF_RUNS.get(measurement.metric), measurement.samples, measurement.at
            if kind is None or not samples:
                continue
            location = (measurement.metric, tuple(at.items()) if len(at) < 2 else tuple(sorted(at.items())))
            entry = by_location.get(location)
            if entry is None:
                entry = by_location[location] = _Samples()
            if kind != "timing":
                entry.add(0, seed, fmean(samples))
                continue
            blocks = measurement.blocks
            entry.add_timing(seed, measurement, samples)
            if calibration is not None:
                entry.blocks += len(blocks)
                for block in blocks:
                    entry.disturbed += disturbed(block, calibration) is not None
        if record.model is not None:
            model = record.model
            sizes = zip(MODEL_SIZES, (model.parameters, model.state_bytes, model.step_flops), strict=True)
            for name, size in sizes:
                if size is not None:
                    by_location.setdefault((name, ()), _Samples()).add(0, seed, float(size))
    return by_location


def _count_differences(base: set[tuple[int, int]], new: set[tuple[int, int]]) -> Iterable[Difference]:
    if base == new:
        return
    for index, name in enumerate(("timing samples", "timing blocks")):
        before, after = ({counts[index] for counts in side} for side in (base, new))
        if before != after:
            yield Difference(field=name, base=_listed(before), new=_listed(after))


def _listed(numbers: set[int]) -> str:
    return " and ".join(str(number) for number in sorted(numbers))
