"""The expected duration of tests: announced before a run, also by a dry run, and counted in the remaining time."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import TrainJob
from bench.progress.display import Progress
from bench.progress.eta import EtaEstimator
from tests.bench.carousel import Carousel, carousel
from tests.bench.doubles import SettableClock
from tests.bench.tiny import TINY, tiny_case, write_plan

__all__ = ["carousel"]

MANY = TINY.replace("test_sequences = 8", "test_sequences = 4096").replace(
    '["1x", "2x"]', f"[{', '.join(str(length) for length in range(1_000, 14_000, 1_000))}]"
)


def test_a_dry_run_says_how_long_the_tests_take_and_how_to_bound_them(tmp_path: Path, carousel: Carousel) -> None:
    write_plan(tmp_path, MANY)
    ended = carousel("run", "tiny.toml", "--dry-run")
    assert " of it for tests at 13 lengths of at most 13,000 steps)" in ended.out
    assert "times as long as training: to bound them, set test_steps in the protocol" in ended.out
    write_plan(tmp_path, MANY.replace("steps = 1\nbatch", "test_steps = 100000\nsteps = 1\nbatch"))
    bounded = carousel("run", "tiny.toml", "--dry-run")
    assert bounded.out != ended.out


def test_short_tests_are_not_mentioned(carousel: Carousel) -> None:
    ended = carousel("run", "tiny.toml", "--dry-run")
    assert "tests at" not in ended.out and "test_steps" not in ended.out


def test_the_remaining_time_includes_tests_after_the_last_training_step() -> None:
    clock = SettableClock()
    eta = EtaEstimator({("training", "rnn"): 100.0}, 1, clock=clock)
    console = Console(file=io.StringIO(), width=60)
    with Progress(
        console, eta, lambda job: 100.0, training_share=lambda job: 0.25, quiet=False, clock=clock
    ) as progress:
        progress.start_phase("training", 1)
        progress.job_assigned("0", TrainJob(case=tiny_case("rnn")))
        progress.job_started(JobStarted(worker="0"))
        clock.now = 25.0
        progress.job_progressed(JobProgress(worker="0", step=100, total_steps=100, score=1.0))
        assert eta.remaining_seconds > 70.0
