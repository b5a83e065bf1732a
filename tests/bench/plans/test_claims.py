"""Claims that contradict themselves or can never hold are refused in one line, when their plan is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.commands.report import report_runs
from bench.errors import UsageError
from bench.plans.claims import LOCATION_NAMES
from bench.plans.plan import load
from results import METRICS, Claim
from tests.bench.inline_executor import inline
from tests.bench.runs import like_a_worker, request_for, run_quietly
from tests.bench.tiny import TINY, write_plan

__all__ = ["inline", "like_a_worker"]

ACCURACY = 'quantity = { metric = "accuracy" }\n'
SIZE = 'quantity = { model = "parameters" }\nat_least = 1\n'

WRONG = {
    "bounds that exclude each other": (
        ACCURACY + "at_least = 0.9\nat_most = 0.1\n",
        "at_least (0.9) is above at_most (0.1), so no value satisfies both; exchange or correct them",
    ),
    "a score in per cent": (
        ACCURACY + "published = 95\ntolerance = 2\n",
        "published is 95, but accuracy is between 0 and 1; correct it",
    ),
    "a negative score": (
        'quantity = { curve = "validation_score" }\npublished = -0.1\nat_most = 0.5\n',
        "published is -0.1, but validation_score is between 0 and 1; correct it",
    ),
    "a share of seeds in per cent": (
        'quantity = { training = "solved" }\npublished = 100\nnot_comparable = "other seeds"\n',
        "published is 100, but training is between 0 and 1; correct it",
    ),
    "an R² above 1": (
        'quantity = { metric = "memory_trace" }\npublished = 1.5\nat_least = 0.5\n',
        "published is 1.5, but memory_trace is at most 1; correct it",
    ),
    "a negative number of sequences": (
        'quantity = { metric = "sequences_until_solved" }\npublished = -5\nat_most = 9\n',
        "published is -5, but sequences_until_solved is at least 0; correct it",
    ),
    "a lower bound in per cent": (
        ACCURACY + "at_least = 90\n",
        "at_least is 90, but accuracy is between 0 and 1; correct it",
    ),
    "a negative upper bound": (
        ACCURACY + "at_most = -0.5\n",
        "at_most is -0.5, but accuracy is between 0 and 1; correct it",
    ),
    "a published value outside the bounds": (
        ACCURACY + "published = 0.3\nat_least = 0.9\n",
        "the published value, 0.3, is not at least 0.9; correct the bounds or the value, or say in "
        "differs why ours must differ",
    ),
    "an unknown location": (
        'quantity = { metric = "accuracy", at = { lenght = 8 } }\nat_least = 0.5\n',
        "quantity: no measurement of accuracy has the location 'lenght'; choose from length, from, to",
    ),
    "the location of another metric": (
        'quantity = { metric = "accuracy", at = { position = 8 } }\nat_least = 0.5\n',
        "quantity: no measurement of accuracy has the location 'position'; choose from length, from, to",
    ),
    "a location of a metric without locations": (
        'quantity = { metric = "sequences_until_solved", at = { length = 4 } }\nat_most = 5\n',
        "quantity: no measurement of sequences_until_solved has the location 'length'; remove at",
    ),
    "an unknown location to compare with": (
        ACCURACY + 'against = { quantity = { metric = "accuracy", at = { lenght = 8 } } }\nat_least = 0.5\n',
        "against.quantity: no measurement of accuracy has the location 'lenght'; choose from length, from, to",
    ),
    "a location of a curve": (
        'quantity = { curve = "fit_score", at = { length = 4 } }\nat_least = 0.5\n',
        "quantity: at belongs to a metric; remove it, or give metric",
    ),
    "epochs of a metric": (
        'quantity = { metric = "accuracy", until_epoch = 3 }\nat_least = 0.5\n',
        "quantity: until_epoch belongs to a curve; remove it, or give curve",
    ),
    "epochs in the wrong order": (
        'quantity = { curve = "fit_score", from_epoch = 9, until_epoch = 3 }\nat_least = 0.5\n',
        "quantity: from_epoch (9) is above until_epoch (3); exchange or correct them",
    ),
    "a comparison with the same quantity": (
        ACCURACY + 'against = { quantity = { metric = "accuracy" } }\nat_least = 0.1\n',
        "against names the cases and the quantity of the claim itself; give other cases or another quantity",
    ),
    "a comparison with the same cases": (
        ACCURACY + 'cases = { arch = ["lstm"] }\nagainst = { cases = { arch = ["lstm"] } }\nat_least = 0.1\n',
        "against names the cases and the quantity of the claim itself; give other cases or another quantity",
    ),
    "an unknown protocol field of the other cases": (
        ACCURACY + "against = { cases = { protocol = { lr = 3 } } }\nat_least = 0.1\n",
        "a protocol has no field 'lr'; choose from optimizer, ",
    ),
}

RIGHT = {
    "equal bounds": ACCURACY + "at_least = 0.5\nat_most = 0.5\n",
    "a published value at a bound": ACCURACY + "published = 0.155\nat_most = 0.155\n",
    "a published value within the bounds": ACCURACY + "published = 0.155\nat_most = 0.255\n",
    "a published value whose difference is explained": (
        ACCURACY + 'published = 0.99\nat_most = 0.5\ndiffers = "a hundredth of the training"\n'
    ),
    "a tolerance beyond a perfect score": ACCURACY + "published = 1.0\ntolerance = 0.02\n",
    "a published loss": 'quantity = { metric = "cross_entropy" }\npublished = 2.5\ntolerance = 0.1\n',
    "a published difference": (
        ACCURACY + 'against = { cases = { arch = ["rnn"] } }\npublished = -0.2\ntolerance = 0.1\n'
    ),
    "a part of a location": 'quantity = { metric = "chunk_seconds", at = { chunk = 4 } }\nat_most = 1\n',
    "one epoch": 'quantity = { curve = "fit_score", from_epoch = 3, until_epoch = 3 }\nat_least = 0.5\n',
    "another quantity of other cases": (
        ACCURACY + 'against = { cases = { arch = ["rnn"] }, quantity = { metric = "accuracy", at = { length = 4 } } }\n'
        "at_least = 0.1\n"
    ),
}


def claim_text(content: str, name: str = "own") -> str:
    return f'\n[[claims]]\nname = "{name}"\ntext = "t"\nsource = "s"\nwhat = "w"\n{content}'


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_claim_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, expected = WRONG[name]
    path = write_plan(tmp_path, TINY + claim_text(content))
    with pytest.raises(UsageError) as caught:
        load(str(path))
    message = str(caught.value)
    assert message.startswith(f"invalid plan {path}: claim 'own': {expected}")
    assert "\n" not in message


def test_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY + claim_text(SIZE) + claim_text(SIZE, "other") + claim_text(SIZE))
    with pytest.raises(UsageError) as caught:
        load(str(path))
    assert str(caught.value) == f"invalid plan {path}: claim 'own': 2 claims have this name; give each its own"


@pytest.mark.parametrize("name", RIGHT)
def test_a_possible_claim_is_accepted(tmp_path: Path, name: str) -> None:
    assert len(load(str(write_plan(tmp_path, TINY + claim_text(RIGHT[name])))).claims) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"quantity": {"metric": "accuracy"}, "at_least": 0.9, "at_most": 0.1},
        {"quantity": {"metric": "accuracy", "at": {"lenght": 4}}, "published": 95.0, "at_least": 0.9},
        {"quantity": {"metric": "accuracy"}, "against": {"quantity": {"metric": "accuracy"}}, "at_least": 0.9},
    ],
)
@pytest.mark.usefixtures("inline")
def test_a_stored_run_with_a_wrong_claim_can_be_reported(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Check that runs of plans that were accepted before can still be read and judged."""
    claim = Claim.model_validate({"name": "own", "text": "t", "source": "s", "what": "w"} | fields)
    run = run_quietly(request_for(tmp_path, seeds=1, measure=("accuracy",), claims=(claim, claim))).run
    assert run.file().claims == (claim, claim)
    report_runs(run.folder.parent, [run.id], tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 0


EVERYTHING = (
    TINY.replace("depth = 1", 'depth = 1\nmeasure = ["accuracy", "latency", "streaming", "gates"]')
    .replace('["1x", "2x"]', '["1x", "5..7"]\nkeep_best = true')
    .replace(
        "positions = [1, 8]", "positions = [1, 8]\nstreams_position = 8\nstreams = [1, 2]\ndeadline_seconds = 1e-3"
    )
)


@pytest.mark.usefixtures("inline")
def test_every_measurement_has_the_location_names_of_its_metric(tmp_path: Path) -> None:
    plan = load(str(write_plan(tmp_path, EVERYTHING)))
    changes = {"measure": plan.measure, "timing": plan.timing, "protocol": plan.protocol, "seeds": 1}
    outcome = run_quietly(request_for(tmp_path, **changes))
    found: dict[str, set[str]] = {}
    for record in outcome.records:
        assert record.status == "ok", record.error
        for measurement in record.measurements:
            found.setdefault(measurement.metric, set()).update(measurement.at)
    assert found == {metric: set(LOCATION_NAMES.get(metric, ())) for metric in found}
    assert {"accuracy", "early_stopped_accuracy", "forward_seconds", "chunk_seconds", "memory_trace"} <= found.keys()


def test_location_names_belong_to_known_metrics() -> None:
    assert LOCATION_NAMES.keys() <= METRICS.keys()
