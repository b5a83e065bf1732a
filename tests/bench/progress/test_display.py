"""The display of a run: plain lines, a live view on a terminal, and long waits of a quiet run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.executors.events import JobProgress, JobStarted
from bench.executors.jobs import Job, TrainJob
from bench.machine.lock import Work
from bench.progress.display import LONG_WAIT_SECONDS, PLAIN_LINE_SECONDS, Progress, format_duration
from bench.progress.eta import EtaEstimator, JobKind
from tests.bench.doubles import SettableClock
from tests.bench.tiny import tiny_case

LSTM: JobKind = ("training", "lstm")
RNN: JobKind = ("training", "rnn")
WAITING = "waiting for another run on this machine to finish its timing jobs\n"
JOB = TrainJob(case=tiny_case())


def a_minute(job: Job) -> float:
    return 60.0


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0 s"), (8.4, "8 s"), (245, "4 min 05 s"), (7800, "2 h 10 min")])
def test_durations_are_formatted_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def show_two_jobs(console: Console, *, quiet: bool = False, errors: Console | None = None) -> None:
    """Show two cases on two workers. The rnn ends after 30 seconds, and the lstm is half done after 40 seconds."""
    clock = SettableClock()
    eta = EtaEstimator({RNN: 60.0, LSTM: 60.0}, 2, clock=clock)
    with Progress(console, eta, a_minute, quiet=quiet, errors=errors, clock=clock) as progress:
        progress.start_phase("training", 2)
        for worker, case in (("0", tiny_case("rnn")), ("1", tiny_case("lstm", length=8))):
            progress.job_assigned(worker, TrainJob(case=case))
            progress.job_started(JobStarted(worker=worker, compiling_seconds=40.2))
        clock.now = PLAIN_LINE_SECONDS / 2
        progress.job_progressed(JobProgress(worker="0", step=1, total_steps=6, score=0.25))
        clock.now = 30.0
        progress.finish("0")
        clock.now = 40.0
        for score in (0.9, 0.75):
            progress.job_progressed(JobProgress(worker="1", step=200, total_steps=400, score=score))
        assert progress.running == ["lstm on first_last, length 8, seed 0"]
        if console.is_terminal and not quiet:
            console.print(progress._view())


def test_plain_lines_count_the_cases_that_are_done_running_and_queued() -> None:
    console = Console(file=io.StringIO(), width=60)
    show_two_jobs(console)
    # At 30 s the rnn's expected 60 s have taken 30, with weight 60 / (60 + 20): the common slowdown is
    # exp(0.75 ln(0.5) / 1.75) = 0.743. The lstm is expected to take 60 x 0.743 = 44.6 s, of which 30 have passed.
    # At 40 s the lstm is half done, so by itself it takes 80 s. 40 s instead of 30 are a slowdown of 1.333 with weight
    # 0.6: the common slowdown is exp((0.75 ln(0.5) + 0.6 ln(1.333)) / 2.35) = 0.863, and that of lstms is
    # (40 + 20 x 0.863) / 50 = 1.145. 60 x 1.145 = 68.7, and half of the mean of 68.7 and 80 remains.
    assert printed(console).splitlines() == [
        "kernels compiled in 40 s, once per machine",
        "training: 1 of 2 cases done, 1 running, 0 queued, 2.0 per minute; 30 s elapsed, about 15 s left",
        "training: 1 of 2 cases done, 1 running, 0 queued, 1.5 per minute; 40 s elapsed, about 37 s left",
    ]


def test_a_terminal_shows_the_job_of_each_worker_and_its_speed() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    show_two_jobs(console)
    text = printed(console)
    assert "worker 1 " in text
    assert "lstm on first_last, length 8, seed 0 40 s 5 steps/s score 0.750" in text
    assert "lstm on first_last best 0.900, latest 0.750" in text
    assert "rnn on first_last  best 0.250, latest 0.250" in text


@pytest.mark.parametrize("force_terminal", [True, False])
def test_a_quiet_run_displays_nothing(force_terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=force_terminal)
    errors = Console(file=io.StringIO())
    show_two_jobs(console, quiet=True, errors=errors)
    assert printed(console) == printed(errors) == ""


@pytest.mark.parametrize("quiet", [True, False])
def test_a_note_on_kernels_is_printed_once_per_host_on_standard_error(quiet: bool) -> None:
    """Without a cache, each process compiles, so the time of compiling is not once per machine."""
    console, errors = Console(file=io.StringIO()), Console(file=io.StringIO(), width=60)
    note = "the equations run, and no compiled kernels: NUMBA_DISABLE_JIT switches the compiler off"
    with Progress(console, EtaEstimator({RNN: 1.0}, 5), a_minute, quiet=quiet, errors=errors) as progress:
        progress.start_phase("training", 5)
        for seed, worker in enumerate(("0", "1", "tcp://10.0.0.7:80/0", "tcp://10.0.0.7:80/1", "0")):
            progress.job_assigned(worker, TrainJob(case=tiny_case(seed=seed)))
            progress.job_started(JobStarted(worker=worker, compiling_seconds=40.0, kernels_note=note))
    assert printed(errors).splitlines() == [note, f"tcp://10.0.0.7:80: {note}"]
    assert printed(console) == ("" if quiet else "kernels compiled in 40 s\nkernels compiled in 40 s\n")


def test_kernels_that_are_not_kept_are_reported_beside_those_that_are() -> None:
    console = Console(file=io.StringIO(), width=120)
    with Progress(console, EtaEstimator({RNN: 1.0}, 4), a_minute, quiet=False) as progress:
        progress.start_phase("training", 4)
        for seed, kept in enumerate((True, False, True, False)):
            progress.job_assigned(str(seed), TrainJob(case=tiny_case(seed=seed)))
            progress.job_started(JobStarted(worker=str(seed), compiling_seconds=40.0, kernels_are_kept=kept))
    assert printed(console).splitlines() == [
        "kernels compiled in 40 s, once per machine",
        "kernels compiled in 40 s; those of a git revision are not kept, and each run compiles them again",
    ]


def test_waiting_for_another_run_is_reported_once() -> None:
    console = Console(file=io.StringIO(), width=60)
    with Progress(console, EtaEstimator({RNN: 1.0}, 2), a_minute, quiet=False) as progress:
        progress.start_phase("training", 2)
        for worker, seed in (("0", 0), ("1", 1)):
            progress.job_assigned(worker, TrainJob(case=tiny_case(seed=seed)))
            progress.waiting_for_machine(worker, "training")
    assert printed(console) == WAITING


def test_a_quiet_run_reports_a_long_wait_once() -> None:
    console, errors, clock = Console(file=io.StringIO()), Console(file=io.StringIO(), width=60), SettableClock()
    eta = EtaEstimator({RNN: 1.0}, 1)
    with Progress(console, eta, a_minute, quiet=True, errors=errors, clock=clock) as progress:
        for began in (0.0, 100.0):  # two short waits do not add up
            clock.now = began
            progress.job_assigned("0", JOB)
            progress.waiting_for_machine("0", "training")
            clock.now = began + LONG_WAIT_SECONDS - 1
            progress.waiting_for_machine("0", "training")
            progress.job_started(JobStarted(worker="0"))
            progress.finish("0")
        assert printed(errors) == ""
        progress.job_assigned("0", JOB)
        progress.waiting_for_machine("0", "training")
        for _ in range(2):
            clock.now += LONG_WAIT_SECONDS
            progress.waiting_for_machine("0", "training")
    assert printed(errors) == WAITING
    assert printed(console) == ""


@pytest.mark.parametrize(
    ("work", "runs", "message"),
    [
        ("training", ("a",), "waiting for run a on this machine to finish its timing jobs"),
        ("timing", ("a",), "waiting for run a on this machine to finish its training and timing jobs"),
        (
            "timing",
            ("a", "b"),
            "waiting for run a and 1 other run on this machine to finish their training and timing jobs",
        ),
    ],
)
def test_the_runs_for_which_a_job_waits_are_named(work: Work, runs: tuple[str, ...], message: str) -> None:
    console = Console(file=io.StringIO(), width=60)
    with Progress(console, EtaEstimator({RNN: 1.0}, 1), a_minute, quiet=False) as progress:
        progress.start_phase("training", 1)
        progress.job_assigned("0", JOB)
        progress.waiting_for_machine("0", work, runs)
        progress.waiting_for_machine("0", work, runs)
    assert printed(console).splitlines() == [message]


def test_speed_and_remaining_time_stand_still_while_all_jobs_wait() -> None:
    console, clock = Console(file=io.StringIO()), SettableClock()
    eta = EtaEstimator({RNN: 120.0}, 1, clock=clock)
    with Progress(console, eta, a_minute, quiet=False, clock=clock) as progress:
        progress.start_phase("training", 2)
        progress.job_assigned("0", JOB)
        progress.job_started(JobStarted(worker="0"))
        clock.now = 60.0
        progress.finish("0")
        progress.job_assigned("0", JOB)
        for clock.now in (61.0, 361.0):
            progress.waiting_for_machine("0", "training", ("a",))
        progress.job_started(JobStarted(worker="0"))
        clock.now = 391.0
        progress.job_progressed(JobProgress(worker="0", step=1, total_steps=2, score=0.5))
    assert [line for line in printed(console).splitlines() if line.startswith("training")] == [
        "training: 1 of 2 cases done, 0 running, 1 queued, 1.0 per minute; 1 min 00 s elapsed, about 1 min 00 s left",
        "training: 1 of 2 cases done, 0 running, 1 waiting, 0 queued, 1.0 per minute; "
        "6 min 01 s elapsed, about 1 min 00 s left "
        "once the machine is free",
        "training: 1 of 2 cases done, 1 running, 0 queued, 0.7 per minute; 6 min 31 s elapsed, about 30 s left",
    ]


def test_a_job_that_another_worker_runs_again_is_shown_once() -> None:
    console = Console(file=io.StringIO())
    with Progress(console, EtaEstimator({RNN: 60.0}, 2), a_minute, quiet=False) as progress:
        progress.start_phase("training", 1)
        progress.job_assigned("host0/worker0/0", JOB)
        progress.job_assigned("host1/worker1/0", JOB)
        assert progress.running == ["rnn on first_last, length 4, seed 0"]
        progress.finish("host1/worker1/0")
        assert progress.running == []


def test_kernels_that_were_cached_are_not_mentioned() -> None:
    console = Console(file=io.StringIO())
    with Progress(console, EtaEstimator({RNN: 1.0}, 1), a_minute, quiet=False) as progress:
        progress.start_phase("training", 1)
        progress.job_assigned("0", JOB)
        progress.job_started(JobStarted(worker="0", compiling_seconds=0.0))
    assert printed(console) == ""
