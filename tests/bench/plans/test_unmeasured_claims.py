"""`carousel run` warns about claims that no case of a plan can answer, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.commands.run import RunOptions, choose_plan
from bench.commands.run_warnings import claim_warnings
from bench.errors import OK
from bench.plans.plan import load, names
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import CLAIM, TINY, write_plan

__all__ = ["carousel", "inline"]

SCORES = TINY.replace("depth = 1", 'depth = 1\nmeasure = ["accuracy"]')
TIMINGS = TINY.replace("depth = 1", 'depth = 1\nmeasure = ["latency", "streaming"]')
EXTRA = '[[extra]]\narchs = ["gru"]\ntasks = ["adding"]\nlengths = [8]\n'
RANGES = SCORES.replace('["1x", "2x"]', '["4..16"]')
ACCURACY = 'quantity = { metric = "accuracy" }\n'

UNMEASURED = {
    "an unknown architecture": (TINY, ACCURACY + 'cases = { arch = ["lsmt"] }', "no case matches"),
    "an unknown task": (TINY, ACCURACY + 'cases = { task = ["frist_last"] }', "no case matches"),
    "another depth": (TINY, ACCURACY + "cases = { depth = 9 }", "no case matches"),
    "another trained length": (TINY, ACCURACY + "cases = { length = 8 }", "no case matches"),
    "another protocol": (TINY, ACCURACY + "cases = { protocol = { steps = 999 } }", "no case matches"),
    "a combination that no grid has": (
        TINY + EXTRA,
        ACCURACY + 'cases = { arch = ["gru"], task = ["first_last"] }',
        "no case matches",
    ),
    "unknown cases to compare with": (
        TINY,
        ACCURACY + 'against = { cases = { arch = ["lsmt"] } }',
        "against matches no case",
    ),
    "cases of another task to compare with": (
        TINY + EXTRA,
        ACCURACY + 'cases = { arch = ["lstm"] }\nagainst = { cases = { arch = ["gru"] } }',
        "against has no case of the same task and length",
    ),
    "a length without a test": (
        TINY,
        'quantity = { metric = "accuracy", at = { length = 999 } }',
        "no case is tested at length 999",
    ),
    "a range without a test": (
        RANGES,
        'quantity = { metric = "accuracy", at = { from = 4, to = 20 } }',
        "no case is tested over 4..20",
    ),
    "a range that starts elsewhere": (
        RANGES,
        'quantity = { metric = "accuracy", at = { from = 5 } }',
        "no case is tested over such a range",
    ),
    "no length, where only ranges are tested": (RANGES, ACCURACY, "at must name a range, such as 4..16"),
    "a step without the probe": (SCORES, 'quantity = { metric = "step_seconds" }', "needs the probe streaming"),
    "a forward pass without the probe": (
        SCORES,
        'quantity = { metric = "forward_seconds" }',
        "needs the probe latency",
    ),
    "gates without the probe": (TINY, 'quantity = { metric = "forget_share" }', "needs the probe gates"),
    "a score without the probe": (TIMINGS, ACCURACY, "needs the probe accuracy"),
    "FLOPs without timings": (
        SCORES,
        'quantity = { metric = "step_flops" }',
        "needs the probe latency or streaming",
    ),
    "another quantity without the probe": (
        SCORES,
        ACCURACY + 'against = { quantity = { metric = "step_seconds" }, by = "ratio" }',
        "needs the probe streaming",
    ),
    "another quantity of other cases": (
        SCORES,
        ACCURACY + 'against = { cases = { arch = ["rnn"] }, quantity = { metric = "step_seconds" } }',
        "against: needs the probe streaming",
    ),
    "a position that is not timed": (
        TINY,
        'quantity = { metric = "step_seconds", at = { position = 9000 } }',
        "nothing is measured at position 9,000",
    ),
    "a batch of streams at the position of one stream": (
        TINY,
        'quantity = { metric = "stream_step_seconds", at = { position = 8 } }',
        "nothing is measured at position 8",
    ),
    "a batch that is not timed": (
        TINY,
        'quantity = { metric = "forward_seconds", at = { batch = 7 } }',
        "nothing is measured at batch 7",
    ),
    "a deadline that is not tested": (TINY, 'quantity = { metric = "late_share" }', "needs deadline_seconds in timing"),
    "best weights that are not kept": (
        TINY,
        'quantity = { metric = "early_stopped_accuracy" }',
        "needs keep_best in the protocol",
    ),
    "best weights at another length": (
        TINY.replace("batch = 4", "batch = 4\nkeep_best = true", 1),
        'quantity = { metric = "early_stopped_accuracy", at = { length = 8 } }',
        "no case is tested at length 8",
    ),
    "a fit that is not measured": (
        TINY,
        'quantity = { curve = "score_gap" }',
        "needs fit_sequences in the protocol",
    ),
    "training of untrained cases": (
        TIMINGS + '[[extra]]\narchs = ["gru"]\nprotocol = "untrained"\n',
        'quantity = { training = "solved" }\ncases = { arch = ["gru"] }',
        "its cases are not trained",
    ),
}

MEASURED = {
    "one of several cases": (TINY, ACCURACY + 'cases = { arch = ["l*", "gru"] }'),
    "a case of an extra grid": (TINY + EXTRA, ACCURACY + 'cases = { arch = ["gru"], length = 8 }'),
    "a protocol value": (TINY, ACCURACY + "cases = { protocol = { steps = 1, learning_rate = 1e-3 } }"),
    "a multiple of the trained length": (TINY, 'quantity = { metric = "accuracy", at = { length = 8 } }'),
    "a range": (RANGES, 'quantity = { metric = "accuracy", at = { from = 4, to = 16 } }'),
    "a part of a range": (RANGES, 'quantity = { metric = "accuracy", at = { to = 16 } }'),
    "a position": (TINY, 'quantity = { metric = "step_seconds", at = { position = 8 } }'),
    "a batch of streams": (
        TINY,
        'quantity = { metric = "stream_step_seconds", at = { position = 128, streams = 64 } }',
    ),
    "a chunk": (TINY, 'quantity = { metric = "chunk_seconds", at = { chunk = 4 } }'),
    "FLOPs": (TINY, 'quantity = { metric = "step_flops", at = { position = 1 } }'),
    "a validation score": (SCORES, 'quantity = { curve = "validation_score" }'),
    "sequences": (SCORES, 'quantity = { metric = "sequences_until_solved" }'),
    "a size": (SCORES, 'quantity = { model = "parameters" }'),
    "two architectures": (TINY, ACCURACY + 'against = { cases = { arch = ["rnn"] } }'),
}


def claim_text(content: str, name: str = "own") -> str:
    return f'\n[[claims]]\nname = "{name}"\ntext = "t"\nsource = "s"\nwhat = "w"\n{content}\nat_least = 0.5\n'


def warnings_of(path: Path, **choice: Any) -> list[str]:
    options = RunOptions(plan=str(path), store=path.parent / "runs", **choice)
    return claim_warnings(load(options.plan), choose_plan(options))


@pytest.mark.parametrize("name", UNMEASURED)
def test_a_claim_that_cannot_be_measured_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    plan, content, reason = UNMEASURED[name]
    path = write_plan(tmp_path, plan + claim_text(content))
    assert warnings_of(path) == [f"1 of 1 claim can never be measured: own ({reason}); correct the claims or the plan"]


@pytest.mark.parametrize("name", MEASURED)
def test_nothing_is_said_of_a_claim_that_can_be_measured(tmp_path: Path, name: str) -> None:
    plan, content = MEASURED[name]
    assert warnings_of(write_plan(tmp_path, plan + claim_text(content))) == []


@pytest.mark.parametrize("name", names())
def test_every_claim_of_a_shipped_plan_can_be_measured(name: str) -> None:
    plan = load(name)
    assert claim_warnings(plan, plan) == []


def test_the_first_of_many_claims_are_named(tmp_path: Path) -> None:
    wrong = [claim_text(ACCURACY + 'cases = { arch = ["lsmt"] }', f"wrong-{number}") for number in range(5)]
    (line,) = warnings_of(write_plan(tmp_path, TINY + CLAIM + "".join(wrong)))
    assert line == (
        "5 of 6 claims can never be measured: wrong-0 (no case matches), wrong-1 (no case matches), wrong-2 (no case "
        "matches) and 2 more; correct the claims or the plan"
    )


@pytest.mark.parametrize(
    "choice",
    [{"archs": ["rnn"]}, {"tasks": ["adding"]}, {"lengths": "6"}, {"measure": "accuracy"}, {"settings": ["steps=2"]}],
)
def test_nothing_is_said_of_a_claim_that_only_the_choice_leaves_out(tmp_path: Path, choice: dict[str, Any]) -> None:
    cases = 'cases = { arch = ["lstm"], task = ["first_last"], length = 4, protocol = { steps = 1 } }'
    path = write_plan(tmp_path, TINY + claim_text(f'quantity = {{ metric = "step_seconds" }}\n{cases}'))
    assert warnings_of(path, **choice) == []


def test_nothing_is_said_of_a_claim_that_the_choice_adds(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY + claim_text(ACCURACY + 'cases = { arch = ["gru"] }'))
    assert warnings_of(path) != []
    assert warnings_of(path, archs=["+gru"]) == []
    assert warnings_of(path, archs=["lstm"]) == warnings_of(path)


def test_nothing_is_said_if_the_plan_as_written_cannot_be_run(tmp_path: Path) -> None:
    wrong = claim_text(ACCURACY + 'cases = { arch = ["lsmt"] }')
    path = write_plan(tmp_path, TINY.replace('"lstm"]', '"lstm", "own_plugin"]') + wrong)
    assert warnings_of(path, archs=["lstm"]) == []


@pytest.mark.parametrize("option", ["--dry-run", "--quiet"])
def test_run_prints_the_warning_and_succeeds(carousel: Carousel, inline: Inline, option: str) -> None:
    Path("own.toml").write_text(SCORES + claim_text(ACCURACY + 'cases = { arch = ["lsmt"] }'))
    done = carousel("run", "own.toml", option)
    assert done.code == OK, done.err
    assert "1 of 1 claim can never be measured: own (no case matches)" in done.out + done.err
