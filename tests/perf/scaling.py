"""Simulate 10,000 training jobs on 1 to 1,000 workers, and find the cost that limits the run.

    python -m tests.perf.scaling [--cases 10000] [--store FOLDER] [--no-dask]

Durations come from the given store. Without `--store`, the durations of a `quick` run are used. Two costs per case
are measured on this machine. One is writing a record and its weights durably. The other is exchanging a job and its
result with dask. The driver handles one case at a time. Dask's scheduler also handles the messages of one case at a
time. The cases with the longest expected durations start first. Expected durations have a random error.

Efficiency is the total duration of all cases divided by (workers · wall time). The bottleneck is the cost whose
removal shortens the wall time most. To find it, each cost is left out in turn. The effect of the longest case is
calculated instead.
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from results import Run, Store
from tests.bench.tiny import tiny_case

WORKER_COUNTS = (1, 2, 8, 32, 100, 300, 1000)
RECORDED_SECONDS = (
    *(1.3, 2.1, 2.7, 2.8, 2.9, 3.1, 3.2, 3.5, 3.7, 3.9, 4.2, 4.6, 5.2, 5.6, 5.7, 6.1, 6.6, 7.0, 9.2, 11.0),
    *(12.4, 14.2, 20.2, 32.3),
)
"""Seconds of training and testing: quantiles of the 72 cases of a `quick` run, on two workers and two cores."""
WEIGHTS_BYTES = 80_000
"""Size of the weights of a model with 20,000 parameters, which is typical of the plans."""
ESTIMATE_ERROR = 0.3
"""Standard deviation of log(measured duration / expected duration)."""
STARTUP_SECONDS = 2.5
"""Seconds until a worker has imported torch and started its first case."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a run in addition to the durations of its cases."""

    driver_writes: float
    """Seconds per case in the driver, for writing its record and weights."""
    driver_messages: float
    """Seconds per case in the driver, for messages to and from dask."""
    scheduler_messages: float
    """Seconds per case in dask's scheduler."""
    worker_startup: float = STARTUP_SECONDS
    estimate_error: float = ESTIMATE_ERROR


def simulate(durations: Sequence[float], workers: int, costs: Costs, seed: int = 0) -> float:
    """Simulate a run, and return the wall-clock seconds until its last record is written.

    Args:
        durations: seconds that each case takes.
        workers: number of workers.
        costs: the costs in addition to the durations.
        seed: seed of the errors of the expected durations.
    """
    order = random.Random(seed)
    expected = [(seconds * order.lognormvariate(0, costs.estimate_error), seconds) for seconds in durations]
    driver = scheduler = 0.0
    ends: list[tuple[float, int]] = []
    queued = iter(seconds for _, seconds in sorted(expected, reverse=True))

    def submit_next(now: float, startup: float) -> None:
        nonlocal driver, scheduler
        if (seconds := next(queued, None)) is not None:
            driver = max(driver, now) + costs.driver_messages / 2
            scheduler = max(scheduler, driver) + costs.scheduler_messages / 2
            heapq.heappush(ends, (scheduler + startup + seconds, len(ends)))

    for _ in range(workers):
        submit_next(0.0, costs.worker_startup)
    while ends:
        ended, _ = heapq.heappop(ends)
        scheduler = max(scheduler, ended) + costs.scheduler_messages / 2
        driver = max(driver, scheduler) + costs.driver_messages / 2 + costs.driver_writes
        submit_next(driver, 0.0)
    return max(driver, scheduler)


def bottleneck(durations: Sequence[float], workers: int, costs: Costs) -> tuple[str, float]:
    """Return the cost whose removal shortens the run most, and the share of the wall time that its removal saves.

    The longest case counts as a cost if it takes longer than the total duration divided by `workers`.
    """
    wall = simulate(durations, workers, costs)
    without = {
        "record writes": replace(costs, driver_writes=0.0),
        "driver messages": replace(costs, driver_messages=0.0),
        "scheduler messages": replace(costs, scheduler_messages=0.0),
        "starting workers": replace(costs, worker_startup=0.0),
        "wrong estimates": replace(costs, estimate_error=0.0),
    }
    gains = {name: 1 - simulate(durations, workers, changed) / wall for name, changed in without.items()}
    ideal = max(sum(durations) / workers, max(durations))
    gains["the longest case"] = (ideal - sum(durations) / workers) / wall
    name = max(gains, key=lambda cost: gains[cost])
    return name, gains[name]


def write_seconds(rounds: int = 50) -> float:
    """Return the median seconds to write a record and its weights to disk durably."""
    from bench.executors.jobs import TrainJob
    from bench.executors.training_job import run_training_job

    record = run_training_job(TrainJob(case=tiny_case()), lambda *_: None).record
    weights, durations = bytes(WEIGHTS_BYTES), []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        for _ in range(rounds):
            began = time.perf_counter()
            run.write_artifact(record.key, "weights.safetensors", weights)
            run.write(record)
            durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def message_seconds(tasks: int = 300) -> tuple[float, float]:
    """Return the CPU seconds per case of messages in the driver and in the scheduler, averaged over `tasks` cases."""
    import psutil
    from distributed import Client, as_completed

    from tests.bench.loopback_cluster import loopback_cluster

    with tempfile.TemporaryDirectory() as folder, loopback_cluster(Path(folder)) as cluster:
        cluster.worker("--no-nanny")
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            scheduler = psutil.Process(client.run_on_scheduler(os.getpid))
            client.submit(bytes, WEIGHTS_BYTES).result()

            def cpu_seconds(process: psutil.Process) -> float:
                times = process.cpu_times()
                return times.user + times.system

            before = cpu_seconds(psutil.Process()), cpu_seconds(scheduler)
            futures = [client.submit(bytes, WEIGHTS_BYTES, pure=False) for _ in range(tasks)]
            for _ in as_completed(futures, loop=client.loop, with_results=True):
                pass
            after = cpu_seconds(psutil.Process()), cpu_seconds(scheduler)
    return (after[0] - before[0]) / tasks, (after[1] - before[1]) / tasks


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate a run on many workers.")
    parser.add_argument("--cases", type=int, default=10_000, help="Number of training jobs.")
    parser.add_argument("--store", type=Path, help="Store from which durations are taken.")
    parser.add_argument("--no-dask", action="store_true", help="Simulate workers of one machine, without messages.")
    options = parser.parse_args()
    recorded = RECORDED_SECONDS if options.store is None else _durations(options.store)
    durations = random.Random(0).choices(recorded, k=options.cases)
    driver, scheduler = (0.0, 0.0) if options.no_dask else message_seconds()
    costs = Costs(write_seconds(), driver, scheduler)
    print(f"{options.cases} cases: {statistics.mean(durations):.1f} s on average, {max(durations):.1f} s at most")
    print(
        f"measured per case: record and weights {1e3 * costs.driver_writes:.1f} ms, "
        f"messages {1e3 * driver:.1f} ms in the driver and {1e3 * scheduler:.1f} ms in the scheduler"
    )
    print("workers  wall time (h)  efficiency  bottleneck")
    for workers in WORKER_COUNTS:
        wall = simulate(durations, workers, costs)
        name, gain = bottleneck(durations, workers, costs)
        print(f"{workers:7}  {wall / 3600:13.2f}  {sum(durations) / workers / wall:10.1%}  {name} ({gain:.1%})")
    return 0


def _durations(store: Path) -> list[float]:
    durations = [
        record.training.seconds + sum(ran.seconds for probe, ran in record.probes.items() if probe == "accuracy")
        for run in Store(store).runs()
        for record in run.read()[0].values()
        if record.training is not None
    ]
    if not durations:
        raise SystemExit(f"no trained records in {store}")
    return durations


if __name__ == "__main__":
    sys.exit(main())
