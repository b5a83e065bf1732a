"""The effective length follows its definition, and its interval covers as often as it says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

import pytest

from results import EffectiveLength, effective_length

CHANCE = {32: 0.5, 64: 0.5, 128: 0.5}
"""At this chance level, a score must exceed 0.95 to pass."""
SEQUENCES = 4096


def of(scores: dict[int, Sequence[float]], trained: int = 32) -> EffectiveLength:
    found = effective_length(scores, dict.fromkeys(scores, 0.5), trained, sequences=SEQUENCES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("scores", "length", "seeds"),
    [
        # Every seed passes everywhere: the longest tested length, which means at least this length.
        ({32: (1.0, 1.0, 1.0), 64: (1.0, 1.0, 0.99), 128: (0.98, 0.98, 0.98)}, 128, (128, 128, 128)),
        # The last length fails.
        ({32: (1.0, 1.0, 1.0), 64: (1.0, 1.0, 1.0), 128: (0.9, 0.9, 0.9)}, 64, (64, 64, 64)),
        # A shorter length fails, so the pass beyond it does not count.
        ({32: (1.0, 1.0, 1.0), 64: (0.9, 0.9, 0.9), 128: (1.0, 1.0, 1.0)}, 32, (32, 32, 32)),
        # The trained length fails.
        ({32: (0.94, 0.94, 0.95), 64: (1.0, 1.0, 1.0)}, 0, (0, 0, 0)),
        # The mean at 64 passes, but not the whole interval, since one seed fails: 0.93 to 1.03.
        ({32: (1.0, 1.0, 1.0), 64: (1.0, 1.0, 0.94)}, 32, (64, 64, 32)),
        # A length shorter than the trained one fails, which does not matter.
        ({16: (0.5, 0.5), 32: (1.0, 1.0), 64: (1.0, 1.0)}, 64, (64, 64)),
        # The trained length was not tested: the search starts at the next tested length.
        ({64: (1.0, 1.0), 128: (0.6, 0.6)}, 64, (64, 64)),
    ],
)
def test_the_longest_length_with_no_failure_before_it(
    scores: dict[int, tuple[float, ...]], length: int, seeds: tuple[int, ...]
) -> None:
    found = of(scores)
    assert (found.length, found.seeds, found.longest) == (length, seeds, max(scores))


def test_a_score_must_lie_above_nine_tenths_of_the_span_from_the_floor_of_its_length() -> None:
    scores = {32: (0.96, 0.96), 64: (0.96, 0.96)}
    floors = {32: 0.5, 64: 0.7}  # scores above 0.95 and above 0.97 pass
    found = effective_length(scores, floors, 32, sequences=SEQUENCES)
    assert found is not None
    assert found.length == 32


def test_seeds_that_agree_pass_only_if_they_have_enough_test_sequences() -> None:
    for sequences, length in ((128, 0), (4096, 32)):
        found = effective_length({32: (0.96, 0.96)}, CHANCE, 32, sequences=sequences)
        assert found is not None
        assert (found.length, found.seeds) == (length, (32, 32))


def test_a_single_seed_has_a_length_but_no_interval_to_judge_by() -> None:
    found = of({32: (1.0,), 64: (0.5,)})
    assert (found.length, found.seeds, found.low, found.high, found.coverage) == (None, (32,), None, None, None)


def test_few_seeds_have_their_range_and_six_have_an_interval_of_order_statistics() -> None:
    few = of({32: (1.0, 1.0, 0.9), 64: (1.0, 0.9, 0.9)})
    assert (few.seeds, few.low, few.high, few.coverage) == ((64, 32, 0), 0, 64, 0.75)
    many = of({32: (0.9,) + (1.0,) * 8, 64: (0.9, 0.9) + (1.0,) * 7})
    assert (many.low, many.high, many.coverage) == (32, 64, 0.95)  # ranks 2 and 8 of nine


def test_nothing_is_said_without_a_reference_or_a_span() -> None:
    assert effective_length({}, {}, 32, sequences=SEQUENCES) is None
    assert effective_length({32: (1.0, 1.0)}, {}, 32, sequences=SEQUENCES) is None
    assert effective_length({32: (1.0, 1.0)}, {32: 1.0}, 32, sequences=SEQUENCES) is None
    assert effective_length({16: (1.0, 1.0)}, {16: 0.5}, 32, sequences=SEQUENCES) is None
    found = effective_length({32: (1.0, 1.0), 64: (1.0, 1.0)}, {32: 0.5, 64: 1.0}, 32, sequences=SEQUENCES)
    assert found is not None
    assert found.longest == 32


@pytest.mark.parametrize("scores", [{32: ()}, {32: (1.0, 1.0), 64: (1.0,)}])
def test_lengths_with_different_seeds_are_refused(scores: dict[int, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="same number of scores"):
        effective_length(scores, CHANCE, 32, sequences=SEQUENCES)


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_the_interval_contains_the_median_of_all_seeds_as_often_as_it_says(seeds: int) -> None:
    """Seeds pass every length with probability 0.7, so that their effective lengths vary. 500 runs are simulated."""
    generator = random.Random(seeds)

    def drawn() -> int:
        return next((length for length in (0, 32, 64) if generator.random() > 0.7), 128)

    true_median = median(drawn() for _ in range(20_001))
    covered = []
    for _ in range(500):
        lengths = [drawn() for _ in range(seeds)]
        scores = {length: [float(each >= length) for each in lengths] for length in (32, 64, 128)}
        found = of(scores)
        assert found.seeds == tuple(lengths)
        assert found.low is not None and found.high is not None and found.coverage is not None
        covered.append(found.low <= true_median <= found.high)
    assert sum(covered) / len(covered) >= found.coverage - 0.04
