"""What loading a store costs, and whether it grows with the number of records and no faster.

    python -m tests.perf.store [--records 1000,10000,100000] [--in FOLDER]

A record here is that of a case timed at four positions of a stream and two batches: 7.5 kB with 96 samples.
Runs hold up to 1,000 records each. Files are written without waiting for the disk, and read three times, from
memory most likely: what is measured is the reader. It is one thread, so the processor's seconds are what a quiet
machine takes, and they are judged; the wall's stand beside them. The command fails where 10,000 records take longer
than `MOST_SECONDS`, or where a record of the largest store costs over `MOST_GROWTH` times that of the smallest.
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
"""For 10,000 records; what is promised."""
MAX_GROWTH = 1.8
"""Of a record's cost from the smallest store to the largest: memory that was never touched before costs more."""
IN_A_RUN = 1000
ROUNDS = 3


def main() -> int:
    """Print a row for each size, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description="What loading a store costs.")
    parser.add_argument("--records", default="1000,10000,100000")
    parser.add_argument("--in", dest="folder", type=Path, default=None)
    given = parser.parse_args()
    sizes = [int(text) for text in given.records.split(",")]
    print(f"{'records':>9} {'bytes':>7} {'load':>8} {'wall':>8} {'each':>8} {'verify':>8}   best of {ROUNDS}")
    each: dict[int, float] = {}
    failed = []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            mean_bytes = fill(Path(folder), size)
            seconds, wall = min(load_seconds(Path(folder), size) for _ in range(ROUNDS))
            verifying = verify_seconds(Path(folder), size)
        each[size] = seconds / size
        row = f"{size:>9,} {mean_bytes:>7,.0f} {seconds:>7.2f}s {wall:>7.2f}s {1e6 * each[size]:>6.0f}µs"
        print(f"{row} {verifying:>7.2f}s", flush=True)
        if size == 10_000 and seconds > MAX_SECONDS:
            failed.append(f"10,000 records took {seconds:.2f} s, over {MAX_SECONDS:g} s")
    if len(each) > 1 and each[max(each)] > MAX_GROWTH * each[min(each)]:
        failed.append(f"a record of the largest store costs {each[max(each)] / each[min(each)]:.2f} times as much")
    for line in failed:
        print(line)
    return 1 if failed else 0


def fill(folder: Path, size: int) -> float:
    """Write runs with that many records, and say the mean size of a record's file."""
    generator, written, content = random.Random(0), 0, b""
    for first in range(0, size, IN_A_RUN):
        cases = [case(seed=seed) for seed in range(first, min(first + IN_A_RUN, size))]
        run = Store(folder).create(run_file(f"20260102-{first // IN_A_RUN:06}-perf-abc123", *cases))
        template = sample_record(cases[0], generator)
        text = template.model_dump_json(indent=1)
        for of in cases:
            own = text.replace(template.key, of.key).replace(f'"seed": {cases[0].seed}', f'"seed": {of.seed}', 1)
            content = with_checksum(own.encode())
            run.record_path(of.key).write_bytes(content)
            written += len(content)
    return written / size


def sample_record(of: Case, generator: random.Random) -> Record:
    """A record of ordinary size."""

    def measured(metric: str, place: dict[str, int], blocks: int, samples: int) -> Measurement:
        around = (
            Block(calibration_seconds=generator.random(), load=0.01, steal_share=0.0, waiting_share=0.0, switches=0),
        )
        values = tuple(generator.random() * 1e-4 for _ in range(samples))
        return Measurement(metric=metric, at=place, samples=values, blocks=(around,) * blocks)

    measurements = [measured("accuracy", {"length": length}, 0, 1) for length in (32, 64, 128)]
    measurements += [measured("step_seconds", {"position": position}, 1, 20) for position in (1, 16, 128, 1024)]
    measurements += [measured("forward_seconds", {"batch": batch}, 6, 6) for batch in (1, 32)]
    return record(of, measurements=tuple(measurements))


def load_seconds(folder: Path, size: int) -> tuple[float, float]:
    """Seconds of the processor and of the wall to load every record of every run."""
    began, wall_began = time.process_time(), time.perf_counter()
    with reading_many():
        runs = [(run.file(), run.read()) for run in Store(folder).runs()]
    seconds, wall = time.process_time() - began, time.perf_counter() - wall_began
    assert sum(len(records) for _, (records, _) in runs) == size
    assert not any(damaged for _, (_, damaged) in runs)
    return seconds, wall


def verify_seconds(folder: Path, size: int) -> float:
    """The processor's seconds to look at every file; the records name weights that were never written."""
    began = time.process_time()
    inspection = verify(Store(folder))
    seconds = time.process_time() - began
    assert (inspection.records, len(inspection.flaws)) == (size, size)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
