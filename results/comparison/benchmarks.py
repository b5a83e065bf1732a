"""Compare the files of another benchmark program by the same rules as the timings of two runs.

The unit is a process, which wrote one file. Its value is the logarithm of the median of its rounds. Each process
chooses its own number of rounds. So only the first rounds count, as many as the process with the fewest of both sides
has. Then all medians are of equally many rounds.

Rounds of one process are not independent: memory layout, hash seeds and the state of the machine are those of the
process. With one file per side, nothing can be tested, and every comparison is inconclusive.

The processes of both sides may alternate. So the drift that `evidence.py` estimates depends on when each process ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from results.benchmarks import BenchmarkRun
from results.benchmarks.benchmark_run import require_distinct_processes
from results.comparison.comparability import Difference, difference
from results.comparison.evidence import evidence
from results.comparison.pairing import MissingCase
from results.comparison.rows import Comparison, in_order, judged_row
from results.comparison.turns import Judged
from results.comparison.units import BENCHMARK_SECONDS, MIN_SECONDS, Units
from results.comparison.verdict import Thresholds, decide
from results.schema.run import Side


def compare_benchmarks(
    base: BenchmarkRun,
    new: BenchmarkRun,
    *,
    thresholds: Thresholds | None = None,
    allow: frozenset[str] = frozenset(),
) -> Comparison:
    """Compare every benchmark that both sides have.

    A benchmark is missing in a side if one of its files lacks it. A benchmark that only the new side has is counted.

    Args:
        base: The processes of the base.
        new: The processes of the new version.
        thresholds: Smallest relevant effects; the defaults of `Thresholds` if None.
        allow: Names of fields from `ALLOWABLE_OF_FILES` that do not prevent the comparison if they differ.

    Raises `BenchmarkError` if both sides have a file of the same process.
    """
    thresholds = thresholds or Thresholds()
    require_distinct_processes([*base.processes, *new.processes])
    of_base, of_new = ({name: None for each in side.processes for name in each.seconds} for side in (base, new))
    names = [name for name in of_base if name in of_new]
    units = [_units(index, name, base, new) for index, name in enumerate(names)]
    differing = list(_differences(base.environment(), new.environment()))
    differences = [[*differing, *_differences(base.settings(name), new.settings(name))] for name in names]
    forbidding = [[each for each in of_name if each.field not in allow] for of_name in differences]
    comparable = [index for index, of_name in enumerate(forbidding) if not of_name]
    found, _ = evidence([units[index] for index in comparable], [], thresholds, calibration_change=0.0)
    judged = {
        index: Judged(units=units[index], evidence=each, decision=decide(each))
        for index, each in zip(comparable, found, strict=True)
    }
    rows = [
        judged_row(units[index], judged.get(index), forbidding[index], benchmark=name)
        for index, name in enumerate(names)
    ]
    all_differences = dict.fromkeys(each for of_name in [differing, *differences] for each in of_name)
    unknown = [name for name, value in base.environment().items() if value is None is new.environment()[name]]
    return Comparison(
        base=base,
        new=new,
        rows=in_order(rows),
        missing=(*_missing(base, "base", of_base), *_missing(new, "new", of_base)),
        failed=(),
        failed_in_base=(),
        added=len(of_new.keys() - of_base.keys()),
        added_metrics=(),
        not_requested=(),
        differences=tuple(each for each in differing if each.field not in allow),
        reported_differences=tuple(_differences(base.reported(), new.reported())),
        allowed=tuple(each for each in all_differences if each.field in allow),
        unknown=tuple(unknown),
    )


def _units(index: int, name: str, base: BenchmarkRun, new: BenchmarkRun) -> Units:
    """Return the units of a benchmark, one per process that measured it."""
    sides = base.with_benchmark(name), new.with_benchmark(name)
    processes = [*sides[0], *sides[1]]
    rounds = min(len(each.seconds[name]) for each in processes)
    values = [math.log(max(median(each.seconds[name][:rounds]), MIN_SECONDS)) for each in processes]
    in_time = sorted(range(len(processes)), key=lambda each: processes[each].time)
    ranks = [float(in_time.index(each)) for each in range(len(processes))]
    return Units(
        pair=index,
        metric=BENCHMARK_SECONDS,
        at=(),
        kind="timing",
        base=tuple(values[: len(sides[0])]),
        new=tuple(values[len(sides[0]) :]),
        noisy=0.0,
        times=tuple(ranks),
    )


def _differences(base: dict[str, str | None], new: dict[str, str | None]) -> Iterator[Difference]:
    for name in dict.fromkeys([*base, *new]):
        if base.get(name) != new.get(name):
            yield difference(name, base.get(name), new.get(name))


def _missing(side: BenchmarkRun, run: Side, names: dict[str, None]) -> Iterator[MissingCase]:
    """Yield the benchmarks in `names` that a file of a side lacks."""
    for name in names:
        without = [each.file for each in side.processes if name not in each.seconds]
        if without:
            more = f" and {len(without) - 1} more" if len(without) > 1 else ""
            yield MissingCase(case=name, run=run, reason=f"not in {without[0]}{more}")
