"""What is drawn and told of the inside of models whose numbers are known."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist, correlation
from xml.etree import ElementTree

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.analysis.traces import metric_trace
from reports.figures.canvas import Figure
from reports.figures.model_internals import model_internals_figures
from reports.figures.overfitting import alternative_trainings
from reports.figures.traces import SIGN_ALONE, memory_trace_figure
from reports.format import numbers
from results import Measurement, Record, Traces
from tests.reports import inner, synthetic

SVG = "{http://www.w3.org/2000/svg}"
CLOSE = 1e-12
"""Means of a few doubles."""
SAMPLES, SAMPLED = 10_000, 0.03
"""Draws, and more than four standard errors of a squared correlation of so many: 4 · 2r(1 − r²)/√n = 0.023."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [inner.record(one) for one in inner.cases()]


@pytest.fixture(scope="module")
def traces(records: list[Record]) -> dict[str, Traces]:
    shown = reports.shown_cases(inner.run(), records)
    found = {record.key: inner.traces(record.case.arch) for record in records if record.key in shown}
    return {key: one for key, one in found.items() if one is not None}


@pytest.fixture(scope="module")
def drawings(records: list[Record], traces: dict[str, Traces]) -> dict[str, Figure]:
    return {drawing.name: drawing for drawing in model_internals_figures(group_cases(inner.run(), records), traces)}


def texts(drawing: Figure) -> str:
    root = ElementTree.fromstring(drawing.svg)
    return " ".join("".join(text.itertext()).strip() for text in root.iter(f"{SVG}text"))


def test_every_figure_is_there_once(drawings: dict[str, Figure]) -> None:
    assert list(drawings) == [
        "learning-first-last-6",
        "overfitting-first-last-6",
        "memory-trace",
        "gradient-trace",
        "holding-first-last-6",
        "gates-lstm-first-last-0",
        "gates-lstm-init-orthogonal-first-last-0",
        "attention-transformer-first-last-0",
    ]
    for drawing in drawings.values():
        root = ElementTree.fromstring(drawing.svg)
        assert root.findtext(f"{SVG}title") == drawing.title
        assert root.findtext(f"{SVG}desc") == drawing.alternative
        assert drawing.how_to_read.endswith(".")


def test_alternatives_tell_the_numbers(drawings: dict[str, Figure]) -> None:
    assert "transformer: R² 1.00 at step 1, 0.95 at step 6" in drawings["memory-trace"].alternative
    assert "rnn, after training: 5.5e-06 at step 1, 5.5e-01 at step 6" in drawings["gradient-trace"].alternative
    assert "rnn, before training: 5.5e-07 at step 1" in drawings["gradient-trace"].alternative
    holding = drawings["holding-first-last-6"].alternative
    assert "layer 2 0.25 of activations in 0.8–1, median half-life 5.00 steps" in holding
    assert "input 0.00 at the first step, 0.50 between, 1.00 at the last" in (
        drawings["gates-lstm-first-last-0"].alternative
    )
    assert "at the last step layer 2, head 1 gives the first step 1.00" in (
        drawings["attention-transformer-first-last-0"].alternative
    )
    assert "lstm ends at 0.98 and 0.98 on the training set and 0.76 and 0.77 on held-out data" in (
        drawings["learning-first-last-6"].alternative
    )
    assert drawings["overfitting-first-last-6"].alternative == (
        "Overfitting, first_last at 6: test score of seeds 0 and 1: plain 0.925; early stopping 0.930; "
        "dropout 0.3 0.945; weight decay 0.1 0.935"
    )


def test_figures_name_axes_units_and_models(drawings: dict[str, Figure]) -> None:
    assert {"R² of x₁ in the state", "step t", "transformer"} <= set(_labels(drawings["memory-trace"]))
    assert "mean norm of ∂loss/∂xₜ" in _labels(drawings["gradient-trace"])
    assert "10⁻⁶" in texts(drawings["gradient-trace"])
    assert "epochs (passes over the training set)" in _labels(drawings["learning-first-last-6"])
    assert "share of units, sorted" in _labels(drawings["holding-first-last-6"])
    assert [
        label for label in _labels(drawings["gates-lstm-first-last-0"]) if label in ("input", "forget", "candidate")
    ] == ["input", "forget", "candidate"]


def _labels(drawing: Figure) -> list[str]:
    root = ElementTree.fromstring(drawing.svg)
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def test_other_trainings_of_a_model_are_shown_in_the_overfitting_figure_alone(
    records: list[Record], drawings: dict[str, Figure]
) -> None:
    found = group_cases(inner.run(), records)
    assert [group.arch for group in alternative_trainings(found)] == [
        "lstm:dropout=0.3,init=orthogonal",
        "lstm:init=orthogonal weight_decay=0.1",
    ]
    for name in ("memory-trace", "learning-first-last-6", "holding-first-last-6"):
        assert "dropout" not in texts(drawings[name])
    assert {"plain", "early stopping", "dropout 0.3", "weight decay 0.1"} <= set(
        _labels(drawings["overfitting-first-last-6"])
    )


def test_a_trace_is_the_mean_between_the_lowest_and_the_highest_seed(records: list[Record]) -> None:
    group = next(group for group in group_cases(inner.run(), records) if group.arch == "rnn")
    trace = metric_trace(group, "gradient_trace", "step")
    assert trace is not None
    assert trace.steps == [1, 2, 3, 4, 5, 6]
    assert (trace.mean[-1], trace.low[-1], trace.high[-1]) == pytest.approx((0.55, 0.1, 1.0), abs=CLOSE)
    assert metric_trace(group, "retention", "layer") is None


def test_the_same_records_give_the_same_bytes(records: list[Record], traces: dict[str, Traces]) -> None:
    first, again = (
        model_internals_figures(group_cases(inner.run(), some), traces) for some in (records, records[::-1])
    )
    assert first == again


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("first_last", False),
        ("first_last:rule=product", True),
        ("first_last:rule=equal", False),
        ("adding:rule=product", False),
    ],
)
def test_of_a_product_the_sign_is_enough(records: list[Record], task: str, told: bool) -> None:
    plain = [one for one in records if one.case.arch == "rnn"]
    cases = [one.case.model_copy(update={"task": task}) for one in plain]
    moved = [one.model_copy(update={"case": case, "key": case.key}) for one, case in zip(plain, cases, strict=True)]
    drawing = memory_trace_figure(group_cases(inner.run().model_copy(update={"cases": tuple(cases)}), moved))
    assert drawing is not None
    assert ("a state that holds just the sign has R² 2/π = 0.64." in drawing.how_to_read) == told


def test_the_sign_of_a_normal_number_tells_two_pi_ths_of_it() -> None:
    drawn = NormalDist().samples(SAMPLES, seed=1)
    assert correlation(drawn, [math.copysign(1, x) for x in drawn]) ** 2 == pytest.approx(SIGN_ALONE, abs=SAMPLED)


def test_a_run_that_looked_into_nothing_has_none_of_these_figures() -> None:
    found = group_cases(synthetic.run(), synthetic.records())
    assert model_internals_figures(found, {}) == []
    assert reports.shown_cases(synthetic.run(), synthetic.records()) == []


def test_one_case_is_drawn_alone_and_written_twice(
    tmp_path: Path, records: list[Record], traces: dict[str, Traces]
) -> None:
    record = records[0]
    drawings = reports.case_figures(inner.run(), records, record.key, inner.traces(record.case.arch))
    name = f"lstm-first-last-0-{record.case.digest()}"
    kinds = ("learning", "gates", "holding", "memory-trace", "gradient-trace")
    assert [drawing.name for drawing in drawings] == [f"{kind}-{name}" for kind in kinds]
    assert "transformer" not in "".join(drawing.alternative for drawing in drawings)
    paths = reports.write_case_figures(drawings, tmp_path / "drawn")
    assert len(paths) == 2 * len(drawings)
    assert {path.read_bytes()[:4] for path in paths} == {b"<svg", b"\x89PNG"}
    assert reports.case_figures(inner.run(), records, "nobody", None) == []


def test_the_ledger_is_on_the_page_with_its_verdicts(records: list[Record], traces: dict[str, Traces]) -> None:
    first, second = reports.ledger(inner.run(), records)
    assert first.verdict.startswith("depends on init (holds with orthogonal; not with its default)")
    assert [(found.value, found.holds, found.robust) for found in first.findings] == [
        ("0.765 (0.701 to 0.829), 2 seeds", False, True),
        ("0.925 (0.861 to 0.989), 2 seeds", True, False),
        ("0.935 (0.871 to 0.999), 2 seeds", True, False),
    ]
    assert first.doubt == "firm in 1 of 3 conditions; more seeds could change the others"
    assert (second.verdict, second.findings, second.doubt) == ("not measured", (), "")
    page = reports.page(inner.run(), records, traces)
    assert "2 claims: 1 depending on something, 1 not measured; 1 verdict not firm." in page
    assert "The &lt;LSTM&gt; learns." in page
    assert "<LSTM>" not in page
    assert page.index('id="claim-learns"') < page.index('id="inside"') < page.index('id="names"')
    assert 'id="claims"' not in reports.page(inner.run(claims=()), records)


def test_a_verdict_on_one_seed_says_so_and_shares_stay_within_their_bounds(records: list[Record]) -> None:
    lone = [record for record in records if record.case.seed == 0]
    first = reports.ledger(inner.run(), lone)[0]
    assert first.doubt == "firm in none of 3 conditions: more seeds could change this"
    alone = [record for record in lone if record.case.arch == "lstm:bias=False"]
    assert reports.ledger(inner.run(), alone)[0].doubt == "judged on a single seed, which gives no interval"
    assert first.findings[0].value == "0.760, 1 seed of 2"
    mixed = [record for record in records if record.case.seed == 0 or record.case.arch == "lstm:bias=False"]
    assert [found.robust for found in reports.ledger(inner.run(), mixed)[0].findings] == [True, False, False]
    wide = [record for record in records if record.case.arch == inner.LSTM]
    spread = [
        one.model_copy(
            update={"measurements": tuple(_scored(m, 1.0 if one.case.seed else 0.9) for m in one.measurements)}
        )
        for one in wide
    ]
    values = [found.value for found in reports.ledger(inner.run(), spread)[0].findings]
    assert "0.950 (0.315 to 1.000), 2 seeds" in values  # Student's t of one degree of freedom: ± 12.706 times 0.05
    assert reports.ledger(inner.run(), spread)[0].unmeasured == ("all at their defaults",)


def test_a_value_is_written_with_the_decimals_that_show_its_side_of_the_bound(records: list[Record]) -> None:
    near = [
        one.model_copy(update={"measurements": tuple(_scored(m, 0.89985) for m in one.measurements)})
        for one in records
        if one.case.arch == "lstm:bias=False"
    ]
    first = reports.ledger(inner.run(), near)[0].findings[0]
    assert (first.value, first.holds) == ("0.8999 (0.8999 to 0.8999), 2 seeds", False)


def _scored(measurement: Measurement, score: float) -> Measurement:
    return measurement if measurement.metric != "accuracy" else measurement.model_copy(update={"samples": (score,)})


def test_figures_as_files_are_those_of_the_page(
    records: list[Record], traces: dict[str, Traces], drawings: dict[str, Figure], tmp_path: Path
) -> None:
    numbers = reports.write_figures(inner.run(), records, tmp_path / "figures", traces)
    assert set(drawings) <= {path.stem for path in numbers}
    assert len(numbers) == len(set(numbers)) == len(list((tmp_path / "figures").iterdir()))
    one = drawings["memory-trace"]
    assert one.file is not None
    assert (tmp_path / "figures" / "memory-trace.svg").read_bytes() == one.file("svg", "Memory trace")


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1000.0, "1,000"), (0.01, "0.01"), (1e-6, "10⁻⁶"), (1e5, "10⁵")]
)
def test_powers_of_ten(value: float, text: str) -> None:
    assert numbers.power_of_ten(value) == text


def test_a_label_is_broken_at_its_separators() -> None:
    assert numbers.wrap_label("lstm:forget_bias=1.0,init=orthogonal weight_decay=0.1", 28) == (
        "lstm:forget_bias=1.0,\ninit=orthogonal\nweight_decay=0.1"
    )
    assert numbers.wrap_label("x" * 30, 10) == "x" * 9 + "…"
    assert numbers.wrap_label("gru, 544 B of state", 40) == "gru, 544 B of state"
