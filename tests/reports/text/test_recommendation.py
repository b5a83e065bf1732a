"""The recommendation follows from the frontier, and the answer to limits from what they leave."""

from __future__ import annotations

import pytest

from reports.analysis.frontier import Frontier, Needs, Quantity, excluded_by, frontier
from reports.analysis.groups import Group, group_cases
from reports.analysis.overview import overview_rows
from reports.text.needs import BY_COST_ONLY, NO_CANDIDATE, NOTHING_TO_CHOOSE, answer, rounded_up
from reports.text.recommendation import exceptions, left_out, recommendation
from results import Record, RunFile
from tests.reports import planted, synthetic

TRANSFORMER = planted.records("transformer", 0.95, state=2 << 20, microseconds=159)
GRU = planted.records("gru", 0.8, state=640, microseconds=2.4)
LSTM = planted.records("lstm", 0.6, state=1280, microseconds=2.3, parameters=20_123)
RNN = planted.records("rnn", 0.09, state=320, microseconds=1.2)


def groups_of(*rivals: list[Record]) -> list[Group]:
    records = [record for rival in rivals for record in rival]
    return group_cases(synthetic.run([record.case for record in records]), records)


def frontier_of(*rivals: list[Record]) -> Frontier:
    groups = groups_of(*rivals)
    return frontier(groups, overview_rows(groups))


def test_trade_off_is_named_instead_of_a_winner() -> None:
    assert recommendation(frontier_of(TRANSFORMER, GRU, LSTM, RNN)) == (
        "For streaming, choose by what matters most: transformer (95% memory share, 2.0 MiB of state, 159 µs per step)"
        ", gru (78%, 640 B, 2.40 µs) or lstm (57%, 1.2 KiB, 2.30 µs). None of them beats another in memory share, "
        "state and step cost together. Costs are at position 8,192 inside a compiled loop. Not considered: rnn (no "
        "clear memory by its scores, 1%)."
    )


def test_single_architecture_on_the_frontier_is_chosen() -> None:
    dear = planted.records("lstm", 0.6, state=1280, microseconds=2.5)
    assert recommendation(frontier_of(GRU, dear)) == (
        "For streaming, choose gru: 78% memory share, 640 B of state, 2.40 µs per step. lstm (57%, 1.2 KiB, 2.50 µs) "
        "has no significantly higher memory share, no smaller state and no cheaper step. Costs are at position 8,192 "
        "inside a compiled loop."
    )


def test_beaten_architectures_are_named() -> None:
    dear = planted.records("lstm", 0.6, state=1280, microseconds=2.5)
    text = recommendation(frontier_of(TRANSFORMER, GRU, dear))
    assert text is not None and "Beaten by one of these: lstm (57%, 1.2 KiB, 2.50 µs)." in text


def test_growth_and_longer_sequences_are_given_for_a_single_choice(run: RunFile) -> None:
    records = [record for record in synthetic.sound_records() if record.case.arch in ("gru", "lstm:forget_bias=1")]
    cheap = [record for record in records if record.case.arch == "gru"]
    twins = [synthetic.renamed(record.case, arch="twin") for record in cheap]
    dear = [
        record.model_copy(
            update={
                "measurements": tuple(
                    measurement.model_copy(update={"samples": tuple(2 * sample for sample in measurement.samples)})
                    if measurement.metric == "step_seconds"
                    else measurement
                    for measurement in record.measurements
                )
            }
        )
        for record in twins
    ]
    text = recommendation(frontier_of(cheap, dear))
    assert text is not None
    assert text.startswith("For streaming, choose gru: 82% memory share, 640 B of state, 56.1 µs per step. twin (82%, ")
    assert "inside a compiled loop (flat from position 1). On sequences 4 times the trained length" in text


def test_no_recommendation_rests_on_failed_cases(run: RunFile, records: list[Record]) -> None:
    groups = group_cases(run, records)
    text = recommendation(frontier(groups, overview_rows(groups)))
    assert text is not None
    assert text.startswith("For streaming, only lstm can be recommended: 64% memory share, 1.0 KiB of state, 50.9 µs")
    assert text.endswith(
        "Not considered: transformer (1 case failed: timeout), gru (1 case failed: inconsistent) and rnn (1 case "
        "failed: diverged)."
    )


def test_nothing_is_recommended_without_clear_memory() -> None:
    other = planted.records("lstm", 0.08, state=320, microseconds=1.2)
    assert recommendation(frontier_of(RNN, other)) == (
        "No architecture is recommended for streaming. Not considered: rnn (no clear memory by its scores, 1%) "
        "and lstm (no clear memory by its scores, at most 3%)."
    )


def test_single_architectures_and_single_seeds_give_no_recommendation() -> None:
    assert recommendation(frontier_of(GRU)) is None
    assert recommendation(frontier_of([])) is None
    assert recommendation(frontier_of(GRU[:1], LSTM[:1])) is None
    assert recommendation(frontier_of(GRU, LSTM[:1])) is None


def test_settings_in_which_a_rival_is_better_are_named() -> None:
    def pair(adding: float, copying: float, *, arch: str, state: float) -> list[Record]:
        return [
            record
            for task, score in (("adding", adding), ("copy_memory", copying))
            for record in planted.records(arch, score, state=state, microseconds=2, task=task)
        ]

    rivals = pair(0.9, 0.9, arch="gru", state=640), pair(0.5, 0.97, arch="lstm", state=1280)
    found = frontier_of(*rivals)
    assert [row.arch for row in found.members()] == ["gru"]
    assert exceptions(groups_of(*rivals), found) == (
        "Exceptions: lstm has a significantly higher memory share than gru on copy_memory at 32 (97% against 89%)."
    )
    assert exceptions(groups_of(TRANSFORMER, GRU), frontier_of(TRANSFORMER, GRU)) is None


def test_nothing_is_left_out_if_the_overview_has_every_architecture() -> None:
    groups = groups_of(TRANSFORMER, GRU)
    assert left_out(groups, overview_rows(groups)) is None


def test_no_limits_have_no_answer() -> None:
    assert answer(frontier_of(TRANSFORMER, GRU), Needs()) == []


def test_answer_names_what_is_left_the_choice_and_what_each_limit_excludes() -> None:
    found = frontier_of(TRANSFORMER, GRU, LSTM, RNN)
    needs = Needs(state_bytes=20 << 10, step_seconds=5e-6, parameters=20_100)
    options: dict[Quantity, str] = {
        "state_bytes": "--max-state 20KiB",
        "step_seconds": "--max-step 5us",
        "parameters": "--max-params 20100",
    }
    rest = "Not considered: rnn (no clear memory by its scores, 1%)."
    assert answer(found, needs, options) == [
        "Within the limits: gru.",
        "Choose gru (78% memory share, 640 B of state, 2.40 µs per step).",
        "--max-state 20KiB excludes transformer (2.0 MiB at position 8,192).",
        "--max-step 5us excludes transformer (159 µs at position 8,192).",
        "--max-params 20100 excludes lstm (20,123).",
        rest,
    ]
    assert answer(found, Needs(step_seconds=5e-6)) == [
        "Within the limits: gru and lstm.",
        "Choose by what matters most: gru (78% memory share, 640 B of state, 2.40 µs per step) or lstm (57%, 1.2 KiB, "
        "2.30 µs).",
        "A limit of 5 µs per step excludes transformer (159 µs at position 8,192).",
        rest,
    ]
    assert "A limit of 1 MiB of state excludes transformer" in answer(found, Needs(state_bytes=1 << 20))[2]
    assert (
        answer(found, Needs(parameters=30_000))[2] == "A limit of 30,000 parameters excludes none of those considered."
    )


def test_what_is_left_may_be_beaten() -> None:
    dear = planted.records("lstm", 0.6, state=1280, microseconds=2.5)
    assert answer(frontier_of(TRANSFORMER, GRU, dear), Needs(step_seconds=5e-6))[:3] == [
        "Within the limits: gru and lstm.",
        "Choose gru (78% memory share, 640 B of state, 2.40 µs per step).",
        "Beaten by it: lstm.",
    ]


def test_an_architecture_that_only_an_excluded_one_beats_is_chosen() -> None:
    small = planted.records("small", 0.6, state=640, microseconds=2.5, parameters=10_000)
    found = frontier_of(GRU, small)
    assert [row.arch for row in found.members()] == ["gru"]
    assert answer(found, Needs(parameters=15_000))[1] == (
        "Choose small (57% memory share, 640 B of state, 2.50 µs per step)."
    )


def test_if_nothing_is_left_the_answer_says_which_limit_to_relax() -> None:
    found = frontier_of(TRANSFORMER, GRU)
    assert answer(found, Needs(step_seconds=2e-6), {"step_seconds": "--max-step 2us"})[:2] == [
        "Within the limits: none.",
        "Raise one limit: --max-step to 2.40us (1.20 times), which leaves gru.",
    ]
    assert answer(found, Needs(state_bytes=600, step_seconds=3e-6))[1] == (
        "Raise one limit: state to 640 B (1.07 times), which leaves gru."
    )
    either = answer(frontier_of(TRANSFORMER, GRU, LSTM), Needs(state_bytes=600, step_seconds=5e-6, parameters=20_100))
    assert either[1] == "Raise one limit: state to 640 B (1.07 times), which leaves gru."
    assert answer(found, Needs(state_bytes=320, step_seconds=2e-6))[1] == (
        "No single limit is enough. Closest is gru: raise state to 640 B (2.00 times) and step to 2.40 µs (1.20 times)."
    )


def test_several_single_limits_are_offered_smallest_change_first() -> None:
    found = frontier_of(GRU, planted.records("slim", 0.6, state=64, microseconds=30))
    assert answer(found, Needs(state_bytes=100, step_seconds=5e-6))[1] == (
        "Raise one limit: step to 30.0 µs (6.00 times), which leaves slim; or state to 640 B (6.40 times), which "
        "leaves gru."
    )


def test_answer_without_candidates_says_why() -> None:
    assert answer(frontier_of([]), Needs(step_seconds=1.0)) == [NOTHING_TO_CHOOSE]
    assert answer(frontier_of(RNN), Needs(step_seconds=1.0)) == [
        NO_CANDIDATE,
        "Not considered: rnn (no clear memory by its scores, 1%).",
    ]


def test_limits_exclude_what_was_still_learning_and_a_provisional_frontier_is_named() -> None:
    found = frontier_of(*map(planted.still_learning, (TRANSFORMER, GRU, LSTM)), RNN)
    assert answer(found, Needs(state_bytes=20 << 10, step_seconds=5e-6, parameters=20_100)) == [
        "Within the limits: gru (still learning).",
        "No choice yet: more training of gru could change it.",
        "Provisional frontier: gru (78% memory share, 640 B of state, 2.40 µs per step; still learning).",
        "A limit of 20 KiB of state excludes transformer (2.0 MiB at position 8,192).",
        "A limit of 5 µs per step excludes transformer (159 µs at position 8,192).",
        "A limit of 20,100 parameters excludes lstm (20,123).",
        "Not considered: rnn (no clear memory by its scores, 1%).",
    ]
    assert answer(found, Needs(step_seconds=5e-6))[:3] == [
        "Within the limits: gru (still learning) and lstm (still learning).",
        "No choice yet: more training of gru and lstm could change it.",
        "Provisional frontier: gru (78% memory share, 640 B of state, 2.40 µs per step; still learning) and lstm (57%, "
        "1.2 KiB, 2.30 µs; still learning).",
    ]
    assert answer(found, Needs(state_bytes=600))[1] == (
        "Raise one limit: state to 640 B (1.07 times), which leaves gru (still learning)."
    )


def test_what_a_limit_excludes_cannot_change_the_choice() -> None:
    found = frontier_of(planted.still_learning(TRANSFORMER), GRU, LSTM)
    assert (recommendation(found) or "").startswith("No architecture is recommended for streaming yet: transformer")
    assert answer(found, Needs(step_seconds=5e-6))[:2] == [
        "Within the limits: gru and lstm.",
        "Choose by what matters most: gru (78% memory share, 640 B of state, 2.40 µs per step) or lstm (57%, 1.2 KiB, "
        "2.30 µs).",
    ]
    assert answer(found, Needs(step_seconds=1e-3))[1] == "No choice yet: more training of transformer could change it."


def test_undecided_architecture_that_cannot_change_the_choice_allows_it() -> None:
    dominant = planted.records("dominant", 0.99, state=100, microseconds=1)
    found = frontier_of(dominant, planted.still_learning(LSTM))
    assert answer(found, Needs(step_seconds=5e-6))[:3] == [
        "Within the limits: dominant and lstm (still learning).",
        "Choose dominant (99% memory share, 100 B of state, 1.00 µs per step).",
        "Beaten by it: lstm (still learning).",
    ]
    # A limit that excludes the dominant one leaves nothing that the other could not pass.
    slow = planted.records("dominant", 0.99, state=100, microseconds=9)
    assert answer(frontier_of(slow, planted.still_learning(LSTM)), Needs(step_seconds=5e-6))[1] == (
        "No choice yet: more training of lstm could change it."
    )


def test_provisional_frontier_has_only_architectures_with_clear_memory() -> None:
    found = frontier_of(planted.still_learning(RNN), GRU)
    assert answer(found, Needs(step_seconds=5e-6))[1:3] == [
        "No choice yet: more training of rnn could change it.",
        "Provisional frontier: gru (78% memory share, 640 B of state, 2.40 µs per step).",
    ]
    assert answer(found, Needs(state_bytes=320))[1:] == [
        "No choice yet: more training of rnn could change it.",
        "A limit of 320 B of state excludes gru (640 B at position 8,192).",
    ]


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("state_bytes", 640.0, "640 B"),
        ("state_bytes", 640.5, "641 B"),
        ("state_bytes", 1280.0, "1.3 KiB"),
        ("state_bytes", 1024.0, "1.0 KiB"),
        ("state_bytes", 300.1 * 2**10, "301 KiB"),
        ("state_bytes", 8 * 2.0**20, "8.0 MiB"),
        ("state_bytes", 5000 * 2.0**30, "5,000 GiB"),
        ("step_seconds", 2.4e-6, "2.40 µs"),
        ("step_seconds", 2.401e-6, "2.41 µs"),
        ("step_seconds", 99.96e-6, "100 µs"),
        ("step_seconds", 1.5e-9, "1.50 ns"),
        ("step_seconds", 0.0, "0 ns"),
        ("parameters", 20_123.0, "20,123"),
    ],
)
def test_relaxed_limit_is_rounded_up(quantity: Quantity, value: float, text: str) -> None:
    assert rounded_up(quantity, value) == text


def test_relaxed_limit_lets_the_architecture_through() -> None:
    for microseconds in (2.4, 1.2345, 7.77, 99.99, 123.4, 5.62):
        (row,) = frontier_of(planted.records("gru", 0.8, state=640, microseconds=microseconds)).candidates
        amount, unit = rounded_up("step_seconds", row.step_seconds or 0.0).split()
        assert unit == "µs"
        assert excluded_by(row, Needs(step_seconds=float(amount) * 1000 / 1e9)) == []


def without_scores(records: list[Record]) -> list[Record]:
    return [
        record.model_copy(update={"measurements": tuple(m for m in record.measurements if m.metric != "accuracy")})
        for record in records
    ]


def test_without_scores_the_limits_are_compared_with_costs() -> None:
    found = frontier_of(without_scores(GRU), without_scores(TRANSFORMER))
    assert answer(found, Needs(state_bytes=4096, step_seconds=2e-5)) == [
        "Within the limits by cost: gru (640 B of state, 2.40 µs at position 8,192).",
        "A limit of 4 KiB of state excludes transformer (2.0 MiB at position 8,192).",
        "A limit of 20 µs per step excludes transformer (159 µs at position 8,192).",
        BY_COST_ONLY,
    ]
    assert answer(found, Needs(step_seconds=1e-6), {"step_seconds": "--max-step 1us"})[:2] == [
        "Within the limits by cost: none.",
        "Raise one limit: --max-step to 2.40us (2.40 times), which leaves gru.",
    ]
    assert answer(found, Needs()) == []
