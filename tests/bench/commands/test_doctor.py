"""`carousel doctor`: advice on each limit, the duration of the calibration, and the output."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from arch.kernels.runtime import compiler
from arch.kernels.simd.vector import LANES
from bench.machine.advice import Vitals, advise
from bench.machine.diagnosis import drift_of, spread_of, take_calibrations
from bench.machine.provenance import Checkout
from tests.bench.carousel import Carousel, carousel
from tests.bench.doubles import LOADED_BLOCK, loaded_machine

__all__ = ["carousel"]

SOUND: dict[str, Any] = {
    "cores": 2,
    "spread": 0.05,
    "drift": 0.05,
    "slow_share": 0.0,
    "load": 0.10,
    "steal": 0.05,
    "waiting": 0.05,
    "clock_seconds": 5e-7,
    "clock_source": "tsc",
    "governor": "performance",
    "quota": 2.0,
    "heat_events": 0,
    "quota_stops": 0,
    "virtual": "none",
}
"""Fields of `Vitals` that cause no advice. Each number that advice depends on is at its limit."""


def test_quiet_machine_gets_no_advice() -> None:
    assert advise(Vitals(**SOUND)) == ["found nothing that limits trust in timings"]
    unknown = dict.fromkeys(("load", "steal", "waiting", "governor", "quota", "virtual"))
    assert len(advise(Vitals(**SOUND | unknown))) == 1


@pytest.mark.parametrize(
    ("changes", "limit", "remedy"),
    [
        ({"cores": 1, "quota": None}, "only one core", "close other programs"),
        ({"quota": 1.5}, "a quota allows 1.5 of 2 cores", "--workers"),
        ({"spread": 0.25}, "calibration times vary by ±25%", "repeat the run"),
        ({"drift": 0.08}, "calibration slowed by 8%", "let it cool"),
        ({"heat_events": 3}, "heat slowed the processor 3 times", "let it cool"),
        ({"quota_stops": 2}, "the quota paused this container 2 times", "raise the quota"),
        ({"load": 0.5}, "other processes use 50% of the cores", "stop them, or wait"),
        ({"steal": 0.2}, "the hypervisor gives 20%", "use a dedicated machine"),
        ({"waiting": 0.3}, "was paused for 30%", "stop that process before timing"),
        ({"governor": "powersave"}, "the frequency governor is powersave", "performance"),
        ({"unplugged": True}, "running on battery", "plug the machine in"),
        ({"clock_seconds": 2e-6}, "reading the clock takes 2.0 µs (source tsc)", "compare them only with each other"),
        ({"flushes": False}, "denormal numbers", "slower"),
        ({"virtual": "container"}, "running in a container: load from other guests", "ratios within one run"),
    ],
)
def test_each_limit_has_one_line_with_a_remedy(changes: dict[str, Any], limit: str, remedy: str) -> None:
    (line,) = advise(Vitals(**SOUND | changes))
    assert limit in line
    assert remedy in line


def test_several_limits_are_all_named() -> None:
    found = advise(Vitals(**SOUND | {"cores": 1, "quota": None, "load": 0.9, "governor": "ondemand"}))
    assert [line.split(":")[0] for line in found] == [
        "only one core",
        "other processes use 90% of the cores",
        "the frequency governor is ondemand",
    ]


def test_spread_and_drift_match_values_computed_by_hand() -> None:
    durations = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    assert spread_of(durations) == pytest.approx((1.9 - 1.1) / 2 / 1.5)
    assert drift_of(durations) == pytest.approx(1.9 / 1.1 - 1)
    assert drift_of([2.0, 1.0, 1.0]) == -0.5
    assert spread_of([3.0] * 9) == drift_of([3.0] * 9) == 0


@pytest.mark.parametrize(("seconds", "count"), [(10.0, 10), (2.5, 3), (0.5, 3)])
def test_calibration_lasts_as_long_as_requested(seconds: float, count: int) -> None:
    """Check the number of calibrations, which is at least three. Each takes one second of the fake clock."""
    taken = itertools.count()
    now = [0]

    def beat() -> float:
        now[0] = next(taken)  # the first measurement, at second 0, is discarded
        return 0.004

    beats, block = take_calibrations(seconds, calibration=beat, clock=lambda: now[0], machine=loaded_machine())
    assert beats == [0.004] * count
    assert block == LOADED_BLOCK


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.machine.diagnosis.calibrate", lambda: 0.002)


def test_doctor_prints_one_json_document(carousel: Carousel, steady: None) -> None:
    ended = carousel("doctor", "--json", "--seconds", "0.3")
    assert ended.code == 0
    document = json.loads(ended.out)
    calibration = document["calibration"]
    assert calibration["median_seconds"] == 0.002
    assert (calibration["relative_spread"], calibration["slow_share"]) == (0.0, 0.0)
    counted = {"load", "steal_share", "waiting_share", "switches", "clock_seconds", "heat_events", "quota_stops"}
    counted |= {"wall_seconds", "cpu_seconds", "instructions"}
    assert set(document["machine"]) == counted
    assert set(document["code"]) == {"digest", "commit", "modified"}
    assert document["environment"]["torch"].partition("+")[0].count(".") == 2
    assert document["kernels"] == compiler.describe()
    assert document["advice"]


def test_doctor_says_whether_kernels_are_compiled(
    carousel: Carousel, steady: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = json.loads(carousel("doctor", "--json", "--seconds", "0.3").out)["kernels"]
    assert re.fullmatch(rf"compiled for \S+, {LANES} numbers per vector, kept in .*", compiled)
    monkeypatch.setattr(compiler, "obstacle", lambda: "NUMBA_DISABLE_JIT switches the compiler off")
    equations = json.loads(carousel("doctor", "--json", "--seconds", "0.3").out)["kernels"]
    assert equations == "none, the equations run: NUMBA_DISABLE_JIT switches the compiler off"


def test_doctor_prints_a_table_and_advice(carousel: Carousel, steady: None, monkeypatch: pytest.MonkeyPatch) -> None:
    heat = itertools.count(5, 4)
    monkeypatch.setattr("bench.machine.hardware.heat_events", lambda: next(heat))
    monkeypatch.setattr("bench.machine.hardware.quota_stops", lambda: None)
    monkeypatch.setattr("bench.commands.doctor.gpu_name", lambda: None)
    monkeypatch.setattr("bench.commands.doctor.checkout", lambda: Checkout(commit="0123456789abcdef", modified=True))
    ended = carousel("doctor", "--seconds", "0.3")
    assert ended.code == 0
    assert "2.00 ms ± 0.0%, drift +0.0%" in ended.out
    lines = dict(line.split(maxsplit=1) for line in ended.out.splitlines())
    assert lines["gpu"] == "none available to torch"
    assert lines["commit"] == "0123456789 with local changes"
    assert lines["kernels"] == compiler.describe()
    assert lines["heat"] == "slowed the processor 4 times"
    assert lines["quota"] == "not reported by this system"
    assert lines["memory"].endswith(" GiB")
    assert "• heat slowed the processor 4 times during the check" in ended.out


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "601"])
def test_invalid_duration_is_refused(carousel: Carousel, seconds: str) -> None:
    ended = carousel("doctor", "--seconds", seconds)
    assert ended.code == 2
    assert "--seconds must be more than 0 and at most 600" in ended.err
