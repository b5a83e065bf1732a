"""Figures of model internals and the ledger of claims agree with known numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist, correlation
from xml.etree import ElementTree

import pytest

import reports
from bench.probes.recording import MAX_FEATURES
from reports.analysis.groups import group_cases
from reports.analysis.traces import metric_trace
from reports.analysis.trainings import alternative_trainings
from reports.figures.drawing.canvas import Figure
from reports.figures.drawing.tables import few_of
from reports.figures.learning import learning_figure
from reports.figures.model_internals import model_internals_figures
from reports.figures.traces import SIGN_ALONE, gradient_trace_figure, memory_trace_figure
from reports.format import numbers
from results import Measurement, Record, Traces
from tests.reports import inner, synthetic

SVG = "{http://www.w3.org/2000/svg}"
CLOSE = 1e-12
"""The tolerance for means of a few doubles."""
SAMPLES, SAMPLED = 10_000, 0.03
"""The number of draws, and a tolerance above four standard errors of the squared correlation.

Four standard errors are 4 · 2r(1 − r²)/√n = 0.023."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [inner.record(case) for case in inner.cases()]


@pytest.fixture(scope="module")
def traces(records: list[Record]) -> dict[str, Traces]:
    shown = reports.shown_cases(inner.run(), records)
    by_key = {record.key: inner.traces(record.case.arch) for record in records if record.key in shown}
    return {key: case_traces for key, case_traces in by_key.items() if case_traces is not None}


@pytest.fixture(scope="module")
def figures(records: list[Record], traces: dict[str, Traces]) -> dict[str, Figure]:
    return {figure.name: figure for figure in model_internals_figures(group_cases(inner.run(), records), traces)}


def is_one_sentence(text: str) -> bool:
    return text.endswith(".") and not re.search(r"[.!?]\s", text)


def texts(figure: Figure) -> str:
    root = ElementTree.fromstring(figure.svg)
    return " ".join("".join(text.itertext()).strip() for text in root.iter(f"{SVG}text"))


def test_every_figure_appears_once(figures: dict[str, Figure]) -> None:
    assert list(figures) == [
        "learning-first-last-6",
        "overfitting-first-last-6",
        "memory-trace",
        "gradient-trace",
        "retention-first-last-6",
        "gates-lstm-first-last-0",
        "gates-lstm-init-orthogonal-first-last-0",
        "attention-transformer-first-last-0",
    ]
    for figure in figures.values():
        root = ElementTree.fromstring(figure.svg)
        assert root.findtext(f"{SVG}title") == figure.title
        assert root.findtext(f"{SVG}desc") == figure.description
        assert is_one_sentence(figure.alternative)
        assert figure.how_to_read.endswith(".")


def test_descriptions_contain_the_numbers(figures: dict[str, Figure]) -> None:
    assert "transformer: R² 1.00 at step 1, 0.95 at step 6" in figures["memory-trace"].description
    assert "rnn, after training: 5.5e-06 at step 1, 5.5e-01 at step 6" in figures["gradient-trace"].description
    assert "rnn, before training: 5.5e-07 at step 1" in figures["gradient-trace"].description
    retention = figures["retention-first-last-6"].description
    assert "layer 2 0.25 of activations in 0.8–1, median half-life 5.00 steps" in retention
    assert "input 0.00 at the first step, 0.50 between, 1.00 at the last" in (
        figures["gates-lstm-first-last-0"].description
    )
    assert "at the last step layer 2, head 1 gives the first step 1.00" in (
        figures["attention-transformer-first-last-0"].description
    )
    assert "lstm ends at 0.98 and 0.98 on the training set and 0.76 and 0.77 on held-out data" in (
        figures["learning-first-last-6"].description
    )
    assert figures["overfitting-first-last-6"].description == (
        "Overfitting, first_last at 6: test score of seeds 0 and 1: plain 0.925; early stopping 0.930; "
        "dropout 0.3 0.945; weight decay 0.1 0.935"
    )


def test_alternatives_state_the_main_result(figures: dict[str, Figure]) -> None:
    for name, result in {
        "learning-first-last-6": "the final gap between the two scores is largest for rnn (0.22).",
        "overfitting-first-last-6": "on seeds 0 and 1, the mean test score is highest for dropout 0.3 (0.945).",
        "memory-trace": "at the last step, R² is highest for transformer (0.95).",
        "gradient-trace": "the gradient at the first step is smallest for lstm, lstm:init=orthogonal, rnn and "
        "transformer (5.5e-06).",
        "retention-first-last-6": "the median half-life in the best layer is longest for lstm and "
        "lstm:init=orthogonal (5.00 steps).",
        "gates-lstm-first-last-0": "the mean of the input gate changes most, from 0.00 at the first step to 1.00 at "
        "the last.",
        "attention-transformer-first-last-0": "the weight of the first step is largest in layer 1, head 1 (1.00).",
    }.items():
        assert figures[name].alternative.endswith(result)


def test_figures_name_axes_units_and_models(figures: dict[str, Figure]) -> None:
    assert {"R² of x₁ in the state", "step t", "transformer"} <= set(_labels(figures["memory-trace"]))
    assert "mean norm of ∂loss/∂xₜ" in _labels(figures["gradient-trace"])
    assert "10⁻⁶" in texts(figures["gradient-trace"])
    assert "epochs (passes over the training set)" in _labels(figures["learning-first-last-6"])
    assert "share of units, sorted" in _labels(figures["retention-first-last-6"])
    labels = _labels(figures["gates-lstm-first-last-0"])
    assert [
        label for label in labels if label in ("input gate", "forget gate", "candidate", "cell state c", "output h")
    ] == ["input gate", "forget gate", "candidate", "cell state c", "output h"]
    assert {"input sequence", "answer: yes, right", "yes"} <= set(labels)


def _labels(figure: Figure) -> list[str]:
    root = ElementTree.fromstring(figure.svg)
    return ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]


def test_alternative_trainings_appear_only_in_the_overfitting_figure(
    records: list[Record], figures: dict[str, Figure]
) -> None:
    groups = group_cases(inner.run(), records)
    assert [group.arch for group in alternative_trainings(groups)] == [
        "lstm:dropout=0.3,init=orthogonal",
        "lstm:init=orthogonal weight_decay=0.1",
    ]
    for name in ("memory-trace", "learning-first-last-6", "retention-first-last-6"):
        assert "dropout" not in texts(figures[name])
    assert {"plain", "early stopping", "dropout 0.3", "weight decay 0.1"} <= set(
        _labels(figures["overfitting-first-last-6"])
    )


def test_trace_has_the_mean_the_lowest_and_the_highest_seed(records: list[Record]) -> None:
    group = next(group for group in group_cases(inner.run(), records) if group.arch == "rnn")
    trace = metric_trace(group, "gradient_trace", "step")
    assert trace is not None
    assert trace.steps == [1, 2, 3, 4, 5, 6]
    assert (trace.mean[-1], trace.low[-1], trace.high[-1]) == pytest.approx((0.55, 0.1, 1.0), abs=CLOSE)
    assert metric_trace(group, "retention", "layer") is None


@pytest.mark.slow
def test_same_records_give_the_same_bytes(records: list[Record], traces: dict[str, Traces]) -> None:
    first, again = (
        model_internals_figures(group_cases(inner.run(), some), traces) for some in (records, records[::-1])
    )
    assert first == again


@pytest.mark.parametrize(
    ("task", "noted"),
    [
        ("first_last", False),
        ("first_last:rule=product", True),
        ("first_last:rule=equal", False),
        ("adding:rule=product", False),
    ],
)
def test_memory_trace_of_a_product_notes_that_the_sign_is_enough(records: list[Record], task: str, noted: bool) -> None:
    plain = [record for record in records if record.case.arch == "rnn"]
    cases = [record.case.model_copy(update={"task": task}) for record in plain]
    moved = [
        record.model_copy(update={"case": case, "key": case.key}) for record, case in zip(plain, cases, strict=True)
    ]
    figure = memory_trace_figure(group_cases(inner.run().model_copy(update={"cases": tuple(cases)}), moved))
    assert figure is not None
    assert ("a state that holds only the sign has R² 2/π = 0.64." in figure.how_to_read) == noted


def test_sign_of_a_normal_number_explains_two_over_pi_of_its_variance() -> None:
    samples = NormalDist().samples(SAMPLES, seed=1)
    assert correlation(samples, [math.copysign(1, x) for x in samples]) ** 2 == pytest.approx(SIGN_ALONE, abs=SAMPLED)


def test_caption_and_document_state_the_size_of_the_projection(figures: dict[str, Figure]) -> None:
    stated = f"state of more than {MAX_FEATURES} numbers"
    assert stated in figures["memory-trace"].how_to_read
    assert stated in (Path(__file__).parents[3] / "docs" / "method.md").read_text(encoding="utf-8")


def test_run_without_the_gates_probe_has_none_of_these_figures() -> None:
    groups = group_cases(synthetic.run(), synthetic.records())
    assert model_internals_figures(groups, {}) == []
    assert reports.shown_cases(synthetic.run(), synthetic.records()) == []


def test_single_case_is_drawn_and_written_in_both_formats(
    tmp_path: Path, records: list[Record], traces: dict[str, Traces]
) -> None:
    record = records[0]
    figures = reports.case_figures(inner.run(), records, record.key, inner.traces(record.case.arch))
    name = f"lstm-first-last-0-{record.case.digest()}"
    kinds = ("learning", "gates", "retention", "memory-trace", "gradient-trace")
    assert [figure.name for figure in figures] == [f"{kind}-{name}" for kind in kinds]
    assert "transformer" not in "".join(figure.description for figure in figures)
    paths = reports.write_case_figures(figures, tmp_path / "figures")
    assert len(paths) == 2 * len(figures)
    assert {path.read_bytes()[:4] for path in paths} == {b"<svg", b"\x89PNG"}
    assert reports.case_figures(inner.run(), records, "nobody", None) == []


def test_page_shows_the_ledger_with_its_verdicts(records: list[Record], traces: dict[str, Traces]) -> None:
    first, second = reports.ledger(inner.run(), records)
    assert first.verdict.startswith("depends on init (holds with orthogonal; not with its default)")
    assert [(finding.value, finding.holds, finding.robust) for finding in first.findings] == [
        ("0.765 (0.701 to 0.829), 2 seeds", False, False),
        ("0.925 (0.861 to 0.989), 2 seeds", True, False),
        ("0.935 (0.871 to 0.999), 2 seeds", True, False),
    ]
    assert first.doubt == "robust in none of 3 conditions; more seeds could change this"
    assert (second.verdict, second.findings, second.doubt) == ("not measured", (), "")
    page = reports.page(inner.run(), records, traces)
    assert "2 claims: 1 depending on the condition, 1 not measured; 1 verdict not robust." in page
    assert "The &lt;LSTM&gt; learns." in page
    assert "<LSTM>" not in page
    assert page.index('id="claim-learns"') < page.index('id="inside"') < page.index('id="names"')
    assert 'id="claims"' not in reports.page(inner.run(claims=()), records)


def test_verdict_on_a_single_seed_says_so_and_intervals_stay_within_bounds(records: list[Record]) -> None:
    lone = [record for record in records if record.case.seed == 0]
    first = reports.ledger(inner.run(), lone)[0]
    assert first.doubt == "robust in none of 3 conditions; more seeds could change this"
    alone = [record for record in lone if record.case.arch == "lstm:bias=False"]
    doubt = "judged on a single seed, which gives no interval over seeds"
    assert reports.ledger(inner.run(), alone)[0].doubt == doubt
    assert first.findings[0].value == "0.760 (0.733 to 0.785), 1 seed of 2"  # the error of its test set
    mixed = [record for record in records if record.case.seed == 0 or record.case.arch == "lstm:bias=False"]
    assert [finding.robust for finding in reports.ledger(inner.run(), mixed)[0].findings] == [False] * 3
    wide = [record for record in records if record.case.arch == inner.LSTM]
    spread = [
        record.model_copy(
            update={"measurements": tuple(_scored(m, 1.0 if record.case.seed else 0.9) for m in record.measurements)}
        )
        for record in wide
    ]
    values = [finding.value for finding in reports.ledger(inner.run(), spread)[0].findings]
    assert "0.950 (0.315 to 1.000), 2 seeds" in values  # Student's t of one degree of freedom: ± 12.706 times 0.05
    assert reports.ledger(inner.run(), spread)[0].unmeasured == ("all defaults",)


def test_value_has_enough_decimals_to_show_its_side_of_the_bound(records: list[Record]) -> None:
    near = [
        record.model_copy(update={"measurements": tuple(_scored(m, 0.89985) for m in record.measurements)})
        for record in records
        if record.case.arch == "lstm:bias=False"
    ]
    first = reports.ledger(inner.run(), near)[0].findings[0]
    assert (first.value, first.holds) == ("0.8999 (0.886 to 0.912), 2 seeds", False)


def _scored(measurement: Measurement, score: float) -> Measurement:
    return measurement if measurement.metric != "accuracy" else measurement.model_copy(update={"samples": (score,)})


@pytest.mark.slow
def test_figure_files_are_those_of_the_page(
    records: list[Record], traces: dict[str, Traces], figures: dict[str, Figure], tmp_path: Path
) -> None:
    paths = reports.write_figures(inner.run(), records, tmp_path / "figures", traces)
    assert set(figures) <= {path.stem for path in paths}
    assert len(paths) == len(set(paths)) == len(list((tmp_path / "figures").iterdir()))
    figure = figures["memory-trace"]
    assert (tmp_path / "figures" / "memory-trace.svg").read_bytes() == figure.render_file("svg", figure.title)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (1000.0, "1,000"), (0.01, "0.01"), (1e-6, "10⁻⁶"), (1e5, "10⁵")]
)
def test_powers_of_ten(value: float, text: str) -> None:
    assert numbers.power_of_ten(value) == text


def test_label_is_broken_at_its_separators() -> None:
    assert numbers.wrap_label("lstm:forget_bias=1.0,init=orthogonal weight_decay=0.1", 28) == (
        "lstm:forget_bias=1.0,\ninit=orthogonal\nweight_decay=0.1"
    )
    assert numbers.wrap_label("x" * 30, 10) == "x" * 9 + "…"
    assert numbers.wrap_label("gru, 544 B of state", 40) == "gru, 544 B of state"


def test_curves_and_traces_have_tables_of_a_few_steps() -> None:
    """Check the numbers of `inner`: a memory trace that falls linearly, and two seeds with scores 0.01 apart."""
    records = [inner.record(case) for case in inner.cases() if case.arch == inner.LSTM and case.protocol == inner.PLAIN]
    groups = group_cases(inner.run(), records)
    memory, gradient, learning = (
        figure.table
        for figure in (
            memory_trace_figure(groups),
            gradient_trace_figure(groups),
            learning_figure(groups, task="first_last", length=inner.LENGTH),
        )
        if figure is not None
    )
    assert memory is not None and gradient is not None and learning is not None
    label = memory.rows[0][0]
    assert memory.rows[0] == (label, "first_last", "6", "1", "1.00")
    assert memory.rows[-1] == (label, "first_last", "6", "6", "0.90")
    assert gradient.rows[0] == (label, "first_last", "6", "before training", "1", "5.5e-07 (1.0e-07–1.0e-06)")
    assert len(gradient.rows) == 2 * inner.LENGTH
    assert learning.columns[1:] == (
        *("epoch", "loss, training set", "loss, held-out", "score, training set", "score, held-out"),
    )
    assert len(learning.rows) == 8
    assert learning.rows[0] == (label, "0.500", "0.450", "0.520", "0.560", "0.925 (0.920–0.930)")
    assert learning.rows[-1][1] == "4"


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [0]), (8, list(range(8))), (15, list(range(0, 15, 2)))])
def test_a_table_has_the_first_and_the_last_step(count: int, expected: list[int]) -> None:
    assert few_of(range(count)) == expected
