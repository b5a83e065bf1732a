"""Sweeps of the protocol are drawn as score against the swept quantity, and take no series off other figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

import reports
from reports.analysis.groups import Group, group_cases
from reports.analysis.trainings import alternative_trainings, families
from reports.figures.overfitting import overfitting_figure
from reports.figures.sweeps import sweep_figures
from results import Case, Protocol, Record, RunFile
from tests.reports import inner, synthetic

SVG = "{http://www.w3.org/2000/svg}"
OWN = 2000
STEPS = (OWN, 500, 8000)
"""The training steps: the plan's own ones first, then those of further grids."""
SCORES = {500: 0.5, OWN: 0.7, 8000: 0.9}


def swept(
    archs: Sequence[str] = ("gru", "lstm"), protocols: Sequence[Protocol] | None = None
) -> tuple[RunFile, list[Record]]:
    """Return a run that trains models with several protocols. The score depends on the steps, and is higher for gru."""
    made = []
    for protocol in protocols or [synthetic.PROTOCOL.model_copy(update={"steps": steps}) for steps in STEPS]:
        for arch in archs:
            for seed in range(3):
                sound = synthetic.record(synthetic.case("gru", "adding", 32, seed))
                case = Case(arch=arch, task="adding", length=32, params=20_000, seed=seed, protocol=protocol)
                score = SCORES.get(protocol.steps or 0, 0.6) + 0.01 * seed + 0.05 * (arch == "gru")
                measurements = tuple(
                    each.model_copy(update={"samples": (score,)}) if each.metric == "accuracy" else each
                    for each in sound.measurements
                )
                made.append(sound.model_copy(update={"case": case, "key": case.key, "measurements": measurements}))
    return synthetic.run([record.case for record in made]), made


def groups_of(made: tuple[RunFile, list[Record]]) -> list[Group]:
    return group_cases(*made)


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_sweep_is_drawn_against_its_quantity_in_the_order_of_its_values() -> None:
    (figure,) = sweep_figures(groups_of(swept()))
    assert (figure.name, figure.title) == ("sweep-steps", "Score against steps")
    labels = texts(figure.svg)
    assert {"500", "2,000", "8,000", "steps", "gru", "lstm", "adding, length 32"} <= set(labels)
    assert figure.description == (
        "Score against steps: adding at 32, gru: 0.56 with steps 500, 0.76 with steps 2,000, 0.96 with steps 8,000; "
        "adding at 32, lstm: 0.51 with steps 500, 0.71 with steps 2,000, 0.91 with steps 8,000"
    )
    assert figure.alternative == (
        "Test score of gru and lstm against steps; over all values, the best mean score is highest for gru (0.960)."
    )
    assert figure.table is not None
    assert [row[3] for row in figure.table.rows] == ["500", "2,000", "8,000"] * 2


def test_plain_training_is_that_of_the_plan() -> None:
    found = families(groups_of(swept()))
    assert [family.plain.seeds[0].case.protocol.steps for family in found] == [OWN, OWN]
    # The first protocol of the plan is the plan's own, wherever it is in the order of values.
    found = families(
        groups_of(swept(protocols=[synthetic.PROTOCOL.model_copy(update={"steps": n}) for n in (8000, 500)]))
    )
    assert [family.plain.seeds[0].case.protocol.steps for family in found] == [8000, 8000]


def test_sweep_is_no_overfitting_and_takes_no_series_off_other_figures() -> None:
    run, records = swept()
    groups = group_cases(run, records)
    assert alternative_trainings(groups) == []
    assert overfitting_figure(groups, task="adding", length=32) is None
    page = reports.page(run, records)
    assert "Overfitting" not in page
    assert 'id="sweep-steps"' in page
    for name in ("training-curves", "streaming-cost"):
        (section,) = re.findall(rf'<figure id="{name}".*?</figure>', page, re.DOTALL)
        for steps in STEPS:
            assert section.count(f"gru steps={steps}") >= 1, (name, steps)


@pytest.mark.parametrize(
    ("changes", "name", "labels"),
    [
        ({"learning_rate": 1e-2}, "sweep-learning-rate", {"0.001", "0.01", "learning rate"}),
        ({"schedule": "constant"}, "sweep-schedule", {"cosine", "constant", "schedule"}),
        ({"weight_decay": 0.1, "weight_decay_on": "matrices"}, "sweep-weight-decay", {"0", "0.1", "weight decay"}),
        ({"clip": 0.5, "schedule": "constant"}, "sweep-schedule-clip", {"cosine, 1", "constant, 0.5"}),
    ],
)
def test_any_field_of_the_protocol_can_be_swept(changes: dict[str, object], name: str, labels: set[str]) -> None:
    protocols = [synthetic.PROTOCOL, synthetic.PROTOCOL.model_copy(update=changes)]
    (figure,) = sweep_figures(groups_of(swept(protocols=protocols)))
    assert figure.name == name
    assert labels <= set(texts(figure.svg))


def test_dropout_without_a_measured_fit_is_a_sweep() -> None:
    run, records = swept(("gru", "gru:dropout=0.3"), [synthetic.PROTOCOL])
    groups = group_cases(run, records)
    assert overfitting_figure(groups, task="adding", length=32) is None
    (figure,) = sweep_figures(groups)
    assert figure.name == "sweep-dropout"
    assert {"0", "0.3"} <= set(texts(figure.svg))


def test_remedies_with_a_measured_fit_are_no_sweep() -> None:
    records = [inner.record(case) for case in inner.cases()]
    groups = group_cases(inner.run(), records)
    assert overfitting_figure(groups, task="first_last", length=inner.LENGTH) is not None
    assert sweep_figures(groups) == []


def test_unscored_values_are_left_out() -> None:
    run, records = swept()
    few = [record for record in records if record.case.protocol.steps == OWN]
    assert sweep_figures(group_cases(run, few)) == []
