"""How long a page takes and how large it is: `python -m tests.perf.reporting`.

Made-up records of three sizes: the plan `quick`, the plan `standard` (17 tasks, 3 lengths, 5 seeds), and 10,000 cases.
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
LARGE = (25, (32, 64, 128, 256, 512), 20)
MAX_SECONDS = {"quick": 5.0, "10,000 cases": 20.0}
MAX_BYTES = {"quick": 5_000_000, "standard": 5_000_000}


def made(tasks: int, lengths: tuple[int, ...], seeds: int) -> tuple[RunFile, list[Record]]:
    """A sound record of every case, its numbers borrowed from the tasks of the synthetic run."""
    records = []
    for number in range(tasks):
        for place, length in enumerate(lengths):
            for arch in synthetic.ARCHS:
                for seed in range(seeds):
                    known = synthetic.case(
                        arch, synthetic.TASKS[number % 3], synthetic.LENGTHS[place % 2], seed % synthetic.SEEDS
                    )
                    case = known.model_copy(update={"task": f"task_{number}", "length": length, "seed": seed})
                    stretch = length / known.length
                    record = synthetic.record(known)
                    records.append(
                        record.model_copy(
                            update={
                                "case": case,
                                "key": case.key,
                                "lines": tuple(
                                    line.model_copy(update={"length": round(line.length * stretch)})
                                    for line in record.reference_scores
                                ),
                                "measurements": tuple(
                                    one.model_copy(update={"at": {"length": round(one.at["length"] * stretch)}})
                                    if one.metric == "accuracy"
                                    else one
                                    for one in record.measurements
                                ),
                            }
                        )
                    )
    return synthetic.run([record.case for record in records]), records


def main() -> int:
    """Print seconds and bytes of each page; 1 where a limit is passed."""
    runs = {
        "quick": lambda: (synthetic.run(), synthetic.records()),
        "standard": lambda: made(*STANDARD),
        "10,000 cases": lambda: made(*LARGE),
    }
    passed = True
    for name in sys.argv[1:] or list(runs):
        run, records = runs[name]()
        with tempfile.TemporaryDirectory() as folder:
            start, busy = time.perf_counter(), time.process_time()
            page = reports.write_page(run, records, Path(folder) / "report.html")
            seconds, busy = time.perf_counter() - start, time.process_time() - busy
            size = page.stat().st_size
        print(f"{name}: {len(records):,} records, {seconds:.1f} s ({busy:.1f} s of CPU), {size / 1e6:.2f} MB")
        passed &= seconds <= MAX_SECONDS.get(name, seconds) and size <= MAX_BYTES.get(name, size)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
