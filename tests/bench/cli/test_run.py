"""The options of `carousel run`: invalid values, units of memory and time, and old names."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.main import commands
from bench.commands.quantities import parse_duration
from bench.commands.run import parse_memory
from bench.errors import INTERRUPTED, OK, USAGE, UsageError
from bench.machine.environment import available_cores
from bench.plans.protocol_settings import OWN_OPTIONS
from bench.probes import deadline
from results import Protocol, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline

__all__ = ["carousel", "inline"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--repeat", "0"), "--repeat must be at least 1, not 0"),
        (("--workers", "2", "--scheduler", "tcp://head:8786"), "--workers and --scheduler exclude each other"),
        (("--memory", "a lot"), "--memory takes an amount such as 4GiB or 500MB, at most 1EiB, not 'a lot'"),
        (("--memory", "10MB"), "--memory 10MB is too little: a worker needs at least 256MiB"),
        (("--workers", "2", "--lanes", "2"), "--lanes is the old name of --workers"),
        (("--deadline", "soon"), "--deadline takes a duration such as 50us, from 1ns to 3600s, not 'soon'"),
        (("--deadline", "50us", "--measure", "latency"), "--deadline needs the probe streaming: add it to --measure"),
        (("--deadline", "1.4ns"), "a deadline has whole nanoseconds, not 1.4 of them; round it"),
        (("--lengths", "4,4"), "lengths: 4 occurs more than once; give each value once"),
        (("--lanes", "0"), "--workers must be at least 1, not 0"),
        (("--dry-run", "--json", "--against", "."), "--dry-run and --json exclude each other with --against"),
        (("--set", "steps"), "--set takes FIELD=VALUE, such as learning_rate=3e-3, not 'steps'"),
        (("--set", "stepz=1"), "the protocol has no field 'stepz'; did you mean steps?"),
        (("--set", "seeds=3"), "the protocol has no field 'seeds'; use --seeds"),
        (("--set", "lengths=64"), "the protocol has no field 'lengths'; use --lengths"),
        (("--set", "tasks=adding"), "the protocol has no field 'tasks'; use --task"),
        (("--set", "params-of=layers"), "the protocol has no field 'params-of'; use --params-of"),
        (("--set", "seed=3"), "the protocol has no field 'seed'; did you mean --seeds?"),
        (("--set", "steps=1", "--set", "steps=2"), "--set steps is given twice; give it once"),
        (("--set", "steps=0"), 'not 0; to time models without training them, write protocol = "untrained" into a plan'),
        (
            ("--set", "protocol=untrained"),
            "no field 'protocol'; to time models without training them, write protocol =",
        ),
        (("--set", "steps=many"), "steps must be a whole number, not 'many'"),
        (
            ("--set", "learning_rate=1e-3", "--learning-rates", "1e-3,1e-2"),
            "--set learning_rate and --learning-rates exclude each other",
        ),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    tmp_path: Path, carousel: Carousel, words: tuple[str, ...], message: str
) -> None:
    ended = carousel("run", "tiny.toml", *words)
    assert ended.code == USAGE
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "carousel-runs").exists()


def test_the_options_that_set_suggests_exist() -> None:
    options = {name for option in commands().commands["run"].params for name in option.opts}
    assert set(OWN_OPTIONS.values()) <= options
    assert not OWN_OPTIONS.keys() & Protocol.model_fields.keys()


def test_repeat_is_stored_with_the_run(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    assert carousel("run", "tiny.toml", "--repeat", "2", "--seeds", "1").code == OK
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert run.file().repeat == 2
    assert {record.repetitions for record in run.read()[0].values()} == {2}


@pytest.mark.parametrize("text", ["many", "4 GiB more", "4GiB/2", "-1", "1e9", "100MB", "0", "", "9" * 400])
def test_invalid_memory_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_memory(text)


def test_units_of_memory() -> None:
    sizes = [parse_memory(text) for text in ("4GiB", " 0.5 gib ", "4GB", "4g", "500 MB", str(1 << 30))]
    assert sizes == [4 << 30, 1 << 29, 4 * 10**9, 4 * 10**9, 500 * 10**6, 1 << 30]


@pytest.mark.parametrize("text", ["50", "us", "-1us", "1e3us", "0.5ns", "0s", "2h", "5us more", "5000s", "", "9" * 400])
def test_a_deadline_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--deadline takes a duration such as 50us") as caught:
        parse_duration("--deadline", text)
    assert "\n" not in str(caught.value)


def test_units_of_durations() -> None:
    texts = ("200ns", "50us", " 50 µs ", "50μs", "1.5 ms", "0.002s", "3600s")
    assert [parse_duration("--deadline", text) for text in texts] == [2e-7, 5e-5, 5e-5, 5e-5, 1.5e-3, 2e-3, 3600.0]


def test_a_deadline_is_measured(
    tmp_path: Path, carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "MAX_STEPS", 100)
    assert carousel("run", "tiny.toml", "--deadline", "50us", "--seeds", "1").code == OK
    (run,) = Store(tmp_path / "carousel-runs").runs()
    for record in run.read()[0].values():
        (late,), (steps,) = record.of("late_share"), record.of("deadline_steps")
        assert late.at == steps.at == {"position": 128, "deadline_ns": 50_000}
        assert (steps.samples, 0 <= late.samples[0] <= 1) == ((100.0,), True)


@pytest.mark.parametrize(
    ("archs", "line"),
    [
        (("rnn",), None),
        (
            ("rnn", "+gru:backend=reference"),
            "no deadline is tested for some architectures, because only compiled steps are tested; interpreted: gru:",
        ),
        (
            ("gru:backend=reference",),
            "the deadline has no effect, because only compiled steps are tested; interpreted: gru:backend=reference",
        ),
    ],
)
def test_a_dry_run_says_for_which_architectures_no_deadline_is_tested(
    carousel: Carousel, archs: tuple[str, ...], line: str | None
) -> None:
    words = [word for name in archs for word in ("-a", name)]
    ended = carousel("run", "tiny.toml", "--deadline", "50us", "--dry-run", *words)
    assert ended.code == OK
    said = " ".join((ended.out + ended.err).split())
    assert line in said if line is not None else "deadline" not in said
    assert "deadline" not in carousel("run", "tiny.toml", "--dry-run", *words).out


def test_lanes_is_an_old_name_of_workers(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    not_the_default = available_cores() + 1
    assert carousel("run", "tiny.toml", "--lanes", str(not_the_default)).code == OK
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert run.file().workers == not_the_default


@pytest.mark.parametrize("flag", ["--no-resume", "--new"])
def test_no_resume_and_its_old_name_start_a_new_run(
    tmp_path: Path, carousel: Carousel, inline: Inline, flag: str
) -> None:
    def interrupt(job: object) -> None:
        if len(inline.trained) == 2:
            raise KeyboardInterrupt

    inline.failing = interrupt
    assert carousel("run", "tiny.toml", "-q").code == INTERRUPTED
    inline.failing = lambda job: None
    assert carousel("run", "tiny.toml", "-q", flag).code == OK
    assert len(Store(tmp_path / "carousel-runs").runs()) == 2
    assert len(inline.trained) == 2 + 4


def test_old_names_are_hidden(carousel: Carousel) -> None:
    shown = carousel("run", "--help").out
    assert "--workers" in shown and "--no-resume" in shown
    assert "--lanes" not in shown and "--new" not in shown
