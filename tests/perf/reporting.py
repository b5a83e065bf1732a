"""Measure the time to write the HTML report, and the size of the page.

    python -m tests.perf.reporting [NAME...]

The records are synthetic, in three sizes: the plan `quick`, the plan `standard`, and 10,000 cases. Names select some of
these sizes. The exit code is 1 if a page exceeds its limit in `MAX_SECONDS` or `MAX_BYTES`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import reports
from results import Record, RunFile
from tests.reports import synthetic

STANDARD = (17, (64, 256, 1024), 5)
"""Number of tasks, lengths, and number of seeds of the plan `standard`."""
LARGE = (25, (32, 64, 128, 256, 512), 20)
MAX_SECONDS = {"quick": 5.0, "10,000 cases": 20.0}
MAX_BYTES = {"quick": 5_000_000, "standard": 5_000_000}


def synthetic_run(tasks: int, lengths: tuple[int, ...], seeds: int) -> tuple[RunFile, list[Record]]:
    """Build a run and one valid record per case, with measurements from the synthetic run of the tests.

    `tasks` and `seeds` are numbers, and `lengths` are in time steps. Each architecture of that run is used.
    """
    records = []
    for number in range(tasks):
        for index, length in enumerate(lengths):
            for arch in synthetic.ARCHS:
                for seed in range(seeds):
                    template = synthetic.case(
                        arch, synthetic.TASKS[number % 3], synthetic.LENGTHS[index % 2], seed % synthetic.SEEDS
                    )
                    case = template.model_copy(update={"task": f"task_{number}", "length": length, "seed": seed})
                    scale = length / template.length
                    record = synthetic.record(template)
                    records.append(
                        record.model_copy(
                            update={
                                "case": case,
                                "key": case.key,
                                "reference_scores": tuple(
                                    scores.model_copy(update={"length": round(scores.length * scale)})
                                    for scores in record.reference_scores
                                ),
                                "measurements": tuple(
                                    one.model_copy(update={"at": {"length": round(one.at["length"] * scale)}})
                                    if one.metric == "accuracy"
                                    else one
                                    for one in record.measurements
                                ),
                            }
                        )
                    )
    return synthetic.run([record.case for record in records]), records


def main() -> int:
    """Print the seconds and megabytes of each page, and return the exit code."""
    runs = {
        "quick": lambda: (synthetic.run(), synthetic.records()),
        "standard": lambda: synthetic_run(*STANDARD),
        "10,000 cases": lambda: synthetic_run(*LARGE),
    }
    within_limits = True
    for name in sys.argv[1:] or list(runs):
        run, records = runs[name]()
        with tempfile.TemporaryDirectory() as folder:
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            page = reports.write_page(run, records, Path(folder) / "report.html")
            seconds, cpu_seconds = time.perf_counter() - wall_start, time.process_time() - cpu_start
            size = page.stat().st_size
        print(f"{name}: {len(records):,} records, {seconds:.1f} s ({cpu_seconds:.1f} s CPU), {size / 1e6:.2f} MB")
        within_limits &= seconds <= MAX_SECONDS.get(name, seconds) and size <= MAX_BYTES.get(name, size)
    return 0 if within_limits else 1


if __name__ == "__main__":
    raise SystemExit(main())
