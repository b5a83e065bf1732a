"""Measure the time to load and verify a store, and check that loading time grows linearly with its size.

    python -m tests.perf.store [--records 1000,10000,100000] [--in FOLDER]

Each case is timed at four positions of a stream and two batch sizes. The record of a case has 8 kB and 95 samples. A
run has at most 1,000 records. Every store is loaded three times, most likely from the page cache. The result
therefore measures the reader and not the disk. The reader has one thread, so its CPU time is close to its wall time
on a quiet machine. The limits apply to the CPU time of loading. Wall time is shown for information only. `MAX_SECONDS`
limits the time for 10,000 records. `MAX_GROWTH` limits the time per record of the largest store, relative to the
smallest. The exit code is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from results import Block, Case, Measurement, Record, Store, verify
from results.store.document import reading_many, with_checksum
from tests.results.examples import case, record, run_file

MAX_SECONDS = 3.0
"""Limit on the CPU time to load 10,000 records."""
MAX_GROWTH = 1.8
"""Limit on the loading time per record of the largest store, relative to the smallest. The cost of allocating memory
raises this ratio above 1."""
RECORDS_PER_RUN = 1000
ROUNDS = 3


def main() -> int:
    """Print one row per store size and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.store", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", default="1000,10000,100000", help="Store sizes (default: %(default)s).")
    parser.add_argument("--in", dest="folder", type=Path, help="Folder for the stores (default: a temporary one).")
    options = parser.parse_args()
    sizes = [int(text) for text in options.records.split(",")]
    print(f"{'records':>9} {'bytes':>7} {'load':>8} {'wall':>8} {'record':>8} {'verify':>8}   best of {ROUNDS}")
    seconds_per_record: dict[int, float] = {}
    problems = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            mean_bytes = fill(Path(folder), size)
            seconds, wall = min(load_seconds(Path(folder), size) for _ in range(ROUNDS))
            verify_time = verify_seconds(Path(folder), size)
        seconds_per_record[size] = seconds / size
        row = f"{size:>9,} {mean_bytes:>7,.0f} {seconds:>7.2f}s {wall:>7.2f}s {1e6 * seconds / size:>6.0f}µs"
        print(f"{row} {verify_time:>7.2f}s", flush=True)
        if size == 10_000 and seconds > MAX_SECONDS:
            problems.append(f"10,000 records took {seconds:.2f} s; the limit is {MAX_SECONDS:g} s")
    growth = seconds_per_record[max(sizes)] / seconds_per_record[min(sizes)]
    if growth > MAX_GROWTH:
        problems.append(f"a record of the largest store took {growth:.2f} times as long; the limit is {MAX_GROWTH:g}")
    for line in problems:
        print(line)
    return 1 if problems else 0


def fill(folder: Path, size: int) -> float:
    """Write runs with `size` records in total, and return the mean bytes per record."""
    generator, written, content = random.Random(0), 0, b""
    for first in range(0, size, RECORDS_PER_RUN):
        cases = [case(seed=seed) for seed in range(first, min(first + RECORDS_PER_RUN, size))]
        run = Store(folder).create(run_file(f"20260102-{first // RECORDS_PER_RUN:06}-perf-abc123", *cases))
        template = sample_record(cases[0], generator)
        text = template.model_dump_json(indent=1)
        for one in cases:
            own = text.replace(template.key, one.key).replace(f'"seed": {cases[0].seed}', f'"seed": {one.seed}', 1)
            content = with_checksum(own.encode())
            run.record_path(one.key).write_bytes(content)
            written += len(content)
    return written / size


def sample_record(of_case: Case, generator: random.Random) -> Record:
    """Return a record of `of_case` with a typical number of random samples."""

    def measurement(metric: str, at: dict[str, int], blocks: int, samples: int) -> Measurement:
        block = Block(calibration_seconds=generator.random(), load=0.01, steal_share=0.0, waiting_share=0.0, switches=0)
        values = tuple(generator.random() * 1e-4 for _ in range(samples))
        return Measurement(metric=metric, at=at, samples=values, blocks=(block,) * blocks)

    measurements = [measurement("accuracy", {"length": length}, 0, 1) for length in (32, 64, 128)]
    measurements += [measurement("step_seconds", {"position": position}, 1, 20) for position in (1, 16, 128, 1024)]
    measurements += [measurement("forward_seconds", {"batch": batch}, 6, 6) for batch in (1, 32)]
    return record(of_case, measurements=tuple(measurements))


def load_seconds(folder: Path, size: int) -> tuple[float, float]:
    """Load every record of every run, and return CPU seconds and wall seconds."""
    cpu_start, wall_start = time.process_time(), time.perf_counter()
    with reading_many():
        runs = [(run.file(), run.read()) for run in Store(folder).runs()]
    seconds, wall = time.process_time() - cpu_start, time.perf_counter() - wall_start
    assert sum(len(records) for _, (records, _) in runs) == size
    assert not any(damaged for _, (_, damaged) in runs)
    return seconds, wall


def verify_seconds(folder: Path, size: int) -> float:
    """Verify a store of `size` records, and return the CPU seconds. Each record has one flaw: missing weights."""
    start = time.process_time()
    inspection = verify(Store(folder))
    seconds = time.process_time() - start
    assert (inspection.records, len(inspection.flaws)) == (size, size)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
