"""What limits a run on many lanes: a simulation of 10,000 trainings on 1 to 1,000 lanes.

    python -m tests.perf.scaling [--cases 10000] [--store FOLDER] [--no-dask]

Durations are those recorded in a store, or else those of a `quick` run. What the driver pays for each case is measured
here: writing a record and its weights durably, and handing a job to dask and taking the result back. The driver does
both one after the other for all lanes; dask's scheduler is a second server of that kind. Lanes are given the longest
cases first, by expectations that are off by a random factor.

Efficiency is the work done over lanes times wall time. The bottleneck is the cost without which most of what is lost
would be gained: it is found by leaving out each in turn.
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

LANES = (1, 2, 8, 32, 100, 300, 1000)
RECORDED_SECONDS = (
    *(1.3, 2.1, 2.7, 2.8, 2.9, 3.1, 3.2, 3.5, 3.7, 3.9, 4.2, 4.6, 5.2, 5.6, 5.7, 6.1, 6.6, 7.0, 9.2, 11.0),
    *(12.4, 14.2, 20.2, 32.3),
)
"""Training and testing: quantiles of the 72 cases of a `quick` run, on two lanes of a two-core machine."""
WEIGHTS_BYTES = 80_000
"""Of a model of 20,000 parameters, as most plans train."""
MISJUDGED = 0.3
"""Standard deviation of the logarithm of what a case takes over what was expected."""
STARTUP_SECONDS = 2.5
"""Until a lane has imported torch and taken up its first case."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds for each case, beside its own duration."""

    driver_writes: float
    driver_messages: float
    scheduler_messages: float
    lane_startup: float = STARTUP_SECONDS
    misjudged: float = MISJUDGED


def simulate(durations: Sequence[float], workers: int, costs: Costs, seed: int = 0) -> float:
    """Wall-clock seconds until the last record is written."""
    order = random.Random(seed)
    expected = [(seconds * order.lognormvariate(0, costs.misjudged), seconds) for seconds in durations]
    waiting = [seconds for _, seconds in sorted(expected, reverse=True)]
    driver = scheduler = 0.0
    ends: list[tuple[float, int]] = []
    following = iter(waiting)

    def hand_out(now: float, startup: float) -> None:
        nonlocal driver, scheduler
        if (seconds := next(following, None)) is not None:
            driver = max(driver, now) + costs.driver_messages / 2
            scheduler = max(scheduler, driver) + costs.scheduler_messages / 2
            heapq.heappush(ends, (scheduler + startup + seconds, len(ends)))

    for _ in range(workers):
        hand_out(0.0, costs.lane_startup)
    while ends:
        ended, _ = heapq.heappop(ends)
        scheduler = max(scheduler, ended) + costs.scheduler_messages / 2
        driver = max(driver, scheduler) + costs.driver_messages / 2 + costs.driver_writes
        hand_out(driver, 0.0)
    return max(driver, scheduler)


def bottleneck(durations: Sequence[float], workers: int, costs: Costs) -> tuple[str, float]:
    """The cost without which the run would gain most, and the share of its wall time that this is."""
    wall = simulate(durations, workers, costs)
    without = {
        "record writes": replace(costs, driver_writes=0.0),
        "driver messages": replace(costs, driver_messages=0.0),
        "scheduler messages": replace(costs, scheduler_messages=0.0),
        "starting lanes": replace(costs, lane_startup=0.0),
        "misjudged durations": replace(costs, misjudged=0.0),
    }
    gains = {name: 1 - simulate(durations, workers, changed) / wall for name, changed in without.items()}
    ideal = max(sum(durations) / workers, max(durations))
    gains["the longest case"] = (ideal - sum(durations) / workers) / wall
    name = max(gains, key=lambda one: gains[one])
    return name, gains[name]


def seconds_of_a_write(rounds: int = 50) -> float:
    """Median time in which a record and its weights are on disk."""
    from bench.executors.jobs import TrainJob
    from bench.executors.training_job import run_training_job

    record = run_training_job(TrainJob(case=tiny_case()), lambda *_: None).record
    weights, taken = bytes(WEIGHTS_BYTES), []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        for _ in range(rounds):
            began = time.perf_counter()
            run.write_artifact(record.key, "weights.safetensors", weights)
            run.write(record)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def seconds_of_messages(tasks: int = 300) -> tuple[float, float]:
    """CPU seconds that a case's messages cost the driver, and the scheduler, which has a process of its own."""
    import psutil
    from distributed import Client, as_completed

    from tests.bench.loopback_cluster import loopback_cluster

    with tempfile.TemporaryDirectory() as folder, loopback_cluster(Path(folder)) as cluster:
        cluster.worker("--no-nanny")
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            scheduler = psutil.Process(client.run_on_scheduler(os.getpid))
            client.submit(bytes, WEIGHTS_BYTES).result()

            def spent(process: psutil.Process) -> float:
                times = process.cpu_times()
                return times.user + times.system

            before = spent(psutil.Process()), spent(scheduler)
            futures = [client.submit(bytes, WEIGHTS_BYTES, pure=False) for _ in range(tasks)]
            for _ in as_completed(futures, loop=client.loop, with_results=True):
                pass
            after = spent(psutil.Process()), spent(scheduler)
    return (after[0] - before[0]) / tasks, (after[1] - before[1]) / tasks


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate a run on many lanes.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--no-dask", action="store_true", help="lanes of one machine, driven without messages")
    given = parser.parse_args()
    recorded = RECORDED_SECONDS if given.store is None else _durations(given.store)
    durations = random.Random(0).choices(recorded, k=given.cases)
    driver, scheduler = (0.0, 0.0) if given.no_dask else seconds_of_messages()
    costs = Costs(seconds_of_a_write(), driver, scheduler)
    print(f"{given.cases} cases of {statistics.mean(durations):.1f} s on average, {max(durations):.1f} s at most")
    print(
        f"measured for each case: record and weights {1e3 * costs.driver_writes:.1f} ms, "
        f"messages {1e3 * driver:.1f} ms in the driver and {1e3 * scheduler:.1f} ms in the scheduler"
    )
    print("lanes  wall time (h)  efficiency  costs most")
    for workers in LANES:
        wall = simulate(durations, workers, costs)
        name, gain = bottleneck(durations, workers, costs)
        print(f"{workers:5}  {wall / 3600:13.2f}  {sum(durations) / workers / wall:10.1%}  {name} ({gain:.1%})")
    return 0


def _durations(store: Path) -> list[float]:
    found = [
        record.training.seconds + sum(ran.seconds for probe, ran in record.probes.items() if probe == "accuracy")
        for run in Store(store).runs()
        for record in run.read()[0].values()
        if record.training is not None
    ]
    if not found:
        raise SystemExit(f"no trained records in {store}")
    return found


if __name__ == "__main__":
    sys.exit(main())
