"""The ledger says which claims are undecided because an architecture was still learning."""

from __future__ import annotations

import io
import json

from rich.console import Console

import reports
from reports.text.claims import ledger, summary
from results import Claim, Measurement
from results.schema.claims import Cases, Quantity
from tests.reports import planted, synthetic

CLAIM = Claim.model_validate_json(
    json.dumps(
        {
            "name": "better",
            "text": "the GRU is better than the LSTM",
            "source": "a paper",
            "what": "difference of the scores",
            "cases": {"arch": ["gru"]},
            "quantity": {"metric": "accuracy"},
            "against": {"cases": {"arch": ["lstm"]}},
            "at_least": 0.0,
        }
    )
)


def test_a_claim_against_an_architecture_that_was_still_learning_is_undecided_in_every_output() -> None:
    weak = planted.still_learning(planted.records("lstm", 0.6, state=1280, microseconds=2.3))
    records = [*planted.records("gru", 0.8, state=640, microseconds=2.4), *weak]
    run = synthetic.run([record.case for record in records]).model_copy(update={"claims": (CLAIM,)})
    (row,) = rows = ledger(run, records)
    assert (row.verdict, row.doubt) == ("undecided", "still learning: lstm in 3 of 3 seeds; give more steps")
    assert [(finding.learning, finding.robust) for finding in row.findings] == [("lstm in 3 of 3 seeds", False)]
    assert summary(rows) == "1 claim: 1 undecided."
    page = reports.page(run, records)
    assert '<strong class="undecided">undecided</strong>' in page
    assert "? gru: 0.200" in page
    assert "; still learning: lstm in 3 of 3 seeds" in page
    console = Console(file=io.StringIO(), width=200)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    assert (
        "— the GRU is better than the LSTM undecided: 0.200 (0.178 to 0.222), 3 seeds (still learning: lstm in 3 of 3 "
        "seeds; give more steps)"
    ) in console.file.getvalue()


def test_the_ledger_says_for_how_many_seeds_a_claim_holds() -> None:
    solves = CLAIM.model_copy(update={"against": None, "at_least": 0.9, "text": "the GRU solves the task"})
    records = planted.records("gru", 0.5, state=640, microseconds=2.4, spread=(0.5, -0.3, -0.2))
    run = synthetic.run([record.case for record in records]).model_copy(update={"claims": (solves,)})
    ((finding,),) = (row.findings for row in ledger(run, records))
    assert not finding.holds
    assert finding.value.endswith(", 3 seeds, holds for 1")
    agreeing = planted.records("gru", 0.95, state=640, microseconds=2.4, spread=(0.0, 0.0, 0.0))
    ((finding,),) = (row.findings for row in ledger(run, agreeing))
    assert finding.value == "0.950 (0.942 to 0.957), 3 seeds"


def test_the_ledger_says_if_a_mean_agrees_although_no_seed_does() -> None:
    near = CLAIM.model_copy(update={"against": None, "at_least": 0.75, "at_most": 0.85, "text": "the GRU reaches 0.8"})
    records = planted.records("gru", 0.8, state=640, microseconds=2.4, spread=(0.2, 0.2, -0.4))
    run = synthetic.run([record.case for record in records]).model_copy(update={"claims": (near,)})
    (row,) = ledger(run, records)
    assert (row.verdict, row.doubt) == ("reproduced", "more seeds could change this")
    assert row.findings[0].value.endswith(", 3 seeds, holds for none")


def test_the_ledger_says_that_some_seeds_never_solved_the_task() -> None:
    counts = Claim.model_validate_json(
        CLAIM.model_copy(update={"against": None, "at_least": None, "at_most": 10_000.0}).model_dump_json()
    ).model_copy(update={"quantity": Quantity(metric="sequences_until_solved")})
    records = planted.records("gru", 0.8, state=640, microseconds=2.4)
    solved = Measurement(metric="sequences_until_solved", at={}, samples=(1_050.0,))
    records[:2] = [each.model_copy(update={"measurements": (*each.measurements, solved)}) for each in records[:2]]
    run = synthetic.run([record.case for record in records]).model_copy(update={"claims": (counts,)})
    (row,) = ledger(run, records)
    assert row.doubt == "1 of 3 seeds never solved the task, so the mean over the others is only a lower bound"


def test_the_terminal_prints_the_published_value_and_those_of_a_few_conditions() -> None:
    claim = CLAIM.model_copy(
        update={
            "against": None,
            "cases": Cases(),
            "published": 0.9,
            "tolerance": 0.05,
            "at_least": 0.85,
            "at_most": 0.95,
        }
    )
    records = [
        *planted.records("gru", 0.9, state=640, microseconds=2.4),
        *planted.records("lstm", 0.5, state=640, microseconds=2),
    ]
    run = synthetic.run([record.case for record in records]).model_copy(update={"claims": (claim,)})
    console = Console(file=io.StringIO(), width=300)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    (line,) = (line for line in console.file.getvalue().splitlines() if line.startswith("— the GRU"))
    assert "architecture=gru 0.900 (" in line and "architecture=lstm 0.500 (" in line
    assert line.endswith("; published: 0.900")
    exact = claim.model_copy(update={"published": 0.5085})
    assert ledger(run.model_copy(update={"claims": (exact,)}), records)[0].published == "0.5085"
