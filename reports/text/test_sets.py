"""Whether the test sets of a run are large enough for the smallest difference of scores that counts."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.analysis.ranking import NEARLY_EQUAL
from reports.format.numbers import plural
from results import difference_error, sequences_needed


def test_set_sentences(groups: Sequence[Group]) -> list[str]:
    """Return one sentence per size of test set and number of seeds for which the test sets are too small.

    Test sets are too small if their error in the difference of two mean scores can exceed `NEARLY_EQUAL`. Each sentence
    says how many sequences would be enough. Groups with a single seed are left out.
    """
    sizes = dict.fromkeys((group.test_sequences(), len(group.seeds)) for group in groups if len(group.seeds) > 1)
    return [
        f"Test sets of {plural(sequences, 'sequence')} leave an error of up to ±{error:.3f} in the difference of two "
        f"means over {plural(seeds, 'seed')}, more than the {NEARLY_EQUAL} that count; "
        f"{sequences_needed(NEARLY_EQUAL, seeds):,} sequences would leave {NEARLY_EQUAL}."
        for sequences, seeds in sizes
        if (error := difference_error(sequences, seeds)) > NEARLY_EQUAL
    ]
