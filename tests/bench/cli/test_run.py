"""What `run` is asked for is checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli.parsing import bytes_of
from bench.errors import OK, USAGE, UsageError
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline

__all__ = ["carousel", "inline"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--repeat", "0"), "--repeat must be at least 1, not 0"),
        (("--workers", "2", "--scheduler", "tcp://head:8786"), "give --workers, for this machine, or --scheduler"),
        (("--memory", "a lot"), "--memory takes an amount such as 4GiB or 500MB, not 'a lot'"),
        (("--memory", "10MB"), "a lane needs at least 256 MiB to begin with"),
    ],
)
def test_an_impossible_request_is_one_line(
    tmp_path: Path, carousel: Carousel, words: tuple[str, ...], says: str
) -> None:
    ended = carousel("run", "tiny.toml", *words)
    assert ended.code == USAGE
    assert says in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "carousel-runs").exists()


def test_repeat_reaches_the_run(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    assert carousel("run", "tiny.toml", "--repeat", "2", "--seeds", "1").code == OK
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert run.file().repeat == 2
    assert {record.repetitions for record in run.read()[0].values()} == {2}


@pytest.mark.parametrize("text", ["many", "4 GiB more", "-1", "1e9", "100MB", "0", ""])
def test_an_amount_of_memory_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        bytes_of(text)


def test_amounts_of_memory() -> None:
    gib = 1 << 30
    assert [bytes_of(text) for text in ("4GiB", "4g", "0.5 GB", str(gib))] == [4 * gib, 4 * gib, gib // 2, gib]
