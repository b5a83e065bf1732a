"""`bench.run` executes a plan from Python as the command does."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
import results
from bench.errors import UsageError
from bench.plugins.loader import install
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.test_documented_commands import rejection

__all__ = ["carousel", "inline"]

LEAKY = Path(__file__).parents[2] / "examples" / "leaky_integrator.py"


@pytest.fixture(autouse=True)
def _no_plugins_remain() -> Iterator[None]:
    yield
    install(())


def test_run_has_the_chosen_cases_and_a_page(carousel: Carousel, inline: Inline, tmp_path: Path) -> None:
    run = bench.run(
        "tiny.toml",
        archs=["lstm", "+leaky_integrator"],
        tasks="first_last:rule=product",
        lengths=[4, 6],
        seeds=1,
        params=100,
        measure="accuracy",
        settings={"steps": 2, "schedule": "cosine", "evaluate_at": ["1x"]},
        plugins=LEAKY,
    )
    table = results.cases(run.folder)
    assert set(zip(table["arch"], table["length"], strict=True)) == {
        (arch, length) for arch in ("lstm", "leaky_integrator") for length in (4, 6)
    }
    assert set(table["task"]) == {"first_last:rule=product"} and set(table["status"]) == {"ok"}
    protocol = run.file().cases[0].protocol
    assert (protocol.steps, protocol.schedule, protocol.evaluate_at) == (2, "cosine", ("1x",))
    assert run.folder.parent == Path("carousel-runs") and (run.folder / "report.html").stat().st_size > 0


def test_stored_command_does_the_same(carousel: Carousel, inline: Inline) -> None:
    run = bench.run("tiny.toml", archs="lstm", seeds=1, settings={"steps": 2}, measure=["accuracy"])
    command = run.file().command
    assert rejection(command) is None
    words = shlex.split(command)[1:]
    assert carousel(*words, "--no-resume", "-q").code == 0
    first, again = results.Store(Path("carousel-runs")).runs()
    assert [case.key for case in first.file().cases] == [case.key for case in again.file().cases]


def test_unfinished_run_is_resumed(carousel: Carousel, inline: Inline) -> None:
    inline.failing = lambda job: pytest.fail("interrupted")
    with pytest.raises(pytest.fail.Exception):
        bench.run("tiny.toml", measure="accuracy")
    inline.failing = lambda job: None
    run = bench.run("tiny.toml", measure="accuracy")
    assert [each.id for each in results.Store(Path("carousel-runs")).runs()] == [run.id]
    assert len(inline.trained) > len(run.file().cases)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"archs": "nobody"}, "nobody"),
        ({"settings": {"step": 2}}, "did you mean steps?"),
        ({"measure": "memory"}, "unknown probe 'memory'"),
        ({"workers": 0}, "--workers must be at least 1"),
    ],
)
def test_wrong_arguments_raise_an_error_with_one_line(
    carousel: Carousel, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        bench.run("tiny.toml", **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value) and isinstance(raised.value, ValueError)
