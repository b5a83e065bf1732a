"""Test that an interrupted run in turns is resumed after its last whole round of pairs, or that it says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import INTERRUPTED, OK, USAGE
from results import Record, RunFile, Store
from tests.bench.against.inline_version import Versions, measured, stored, versions, with_changed_environment
from tests.bench.carousel import Carousel, carousel

__all__ = ["carousel", "measured", "versions"]


def interrupt_after(versions: Versions, timed: int) -> None:
    """Interrupt the run when so many cases have been timed; both sides together."""

    def stop(side: str, job: object) -> None:
        if len(versions.timed) == timed and "TimeJob" in type(job).__name__:
            raise KeyboardInterrupt

    versions.failing = stop


def go_on(versions: Versions) -> None:
    versions.failing = lambda side, job: None


def processes(records: list[Record]) -> dict[str, list[int]]:
    """Return the processes that timed each architecture, in the order of the record."""
    return {
        record.case.arch: [each.process for each in record.measurements if each.metric == "step_seconds"]
        for record in records
    }


@pytest.mark.parametrize("timed", [0, 14, 16, 32])
def test_an_interrupted_run_is_resumed_after_its_last_whole_round(
    measured: Carousel, versions: Versions, timed: int
) -> None:
    """A round times two cases on both sides, so it has four timings. Each group has both cases."""
    interrupt_after(versions, timed)
    assert measured("--pairs", "8").code == (INTERRUPTED if timed < 32 else OK)
    first = {side: file.id for side, (file, _) in stored().items()}
    go_on(versions)
    done = measured("--pairs", "8")
    assert done.code == OK, done.err
    if timed == 32:
        assert "resuming" not in done.out
        return
    assert f"resuming runs {first['base']} and {first['new']} after {timed // 4} pair" in done.out
    assert {side: file.id for side, (file, _) in stored().items()} == first
    for file, records in stored().values():
        assert file.finished is not None
        assert processes(records) == {"rnn": list(range(8)), "lstm": list(range(8))}
        assert {record.repetitions for record in records} == {8}
    assert len(versions.timed) == timed + 32 - 4 * (timed // 4)


def test_a_settled_case_is_not_measured_again(measured: Carousel, versions: Versions) -> None:
    versions.noise = lambda case: 0.03 if case.arch.startswith("lstm") else 0.005
    interrupt_after(versions, 4 * 8 + 2 * 2)
    assert measured("--pairs", "12").code == INTERRUPTED
    go_on(versions)
    done = measured("--pairs", "12")
    assert "after 10 pairs of each undecided case" in done.out
    assert {record.case.arch: record.repetitions for _, records in stored().values() for record in records} == {
        "rnn": 8,
        "lstm": 12,
    }


def test_a_case_that_a_look_settled_just_before_the_interruption_is_not_measured_again(
    measured: Carousel, versions: Versions
) -> None:
    versions.noise = lambda case: 0.03 if case.arch.startswith("lstm") else 0.005
    interrupt_after(versions, 4 * 8)
    assert measured("--pairs", "12").code == INTERRUPTED
    go_on(versions)
    assert "after 8 pairs of each undecided case" in measured("--pairs", "12").out
    assert {record.case.arch: record.repetitions for _, records in stored().values() for record in records} == {
        "rnn": 8,
        "lstm": 12,
    }


def test_trained_models_are_kept(measured: Carousel, versions: Versions) -> None:
    interrupt_after(versions, 6)
    measured()
    trained: list[str] = []

    def note(side: str, job: object) -> None:
        trained.extend([side] if "TrainJob" in type(job).__name__ else [])

    versions.failing = note
    assert measured().code == OK
    assert trained == []


def runs() -> list[RunFile]:
    return [run.file() for run in Store(Path("store")).runs()]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--pairs", "12"), "--pairs changed: 8 → 12"),
        (("-a", "rnn"), "plan changed"),
        (("--rename", "gru=lstm"), "--rename changed"),
    ],
)
def test_a_run_that_cannot_be_resumed_is_named(
    measured: Carousel, versions: Versions, options: tuple[str, ...], reason: str
) -> None:
    interrupt_after(versions, 6)
    measured("--pairs", "8")
    base, new = (stored()[side][0].id for side in ("base", "new"))
    go_on(versions)
    done = measured(*(options if "--pairs" in options else ("--pairs", "8", *options)))
    assert f"not resuming runs {base} and {new} ({reason}" in done.out
    assert f"`carousel check {base} {new}` judges what they have" in done.out
    assert len(runs()) == 4


def test_a_run_in_another_environment_is_not_resumed(measured: Carousel, versions: Versions) -> None:
    interrupt_after(versions, 6)
    versions.change = lambda described: with_changed_environment(described, python="3.99")
    measured()
    go_on(versions)
    versions.change = lambda described: described
    assert "environment changed: python 3.99 →" in measured().out
    assert len(runs()) == 4


def test_no_resume_starts_anew(measured: Carousel, versions: Versions) -> None:
    interrupt_after(versions, 6)
    measured()
    go_on(versions)
    assert "resuming" not in measured("--no-resume").out
    assert len(runs()) == 4


def test_a_damaged_record_prevents_resuming(measured: Carousel, versions: Versions) -> None:
    interrupt_after(versions, 6)
    measured()
    go_on(versions)
    record = next(Path("store").glob("*/records/*.json"))
    record.write_text(record.read_text()[:-10])
    done = measured()
    assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
    assert "cannot resume run" in done.err and "pass --no-resume to start anew" in done.err
    assert measured("--no-resume").code == OK


def test_missing_weights_prevent_resuming(measured: Carousel, versions: Versions) -> None:
    interrupt_after(versions, 6)
    measured()
    go_on(versions)
    next(Path("store").glob("*/artifacts/*/weights.safetensors")).unlink()
    done = measured()
    assert done.code == USAGE
    assert "the weights of" in done.err
