"""Decide which rows of docs/published.json new results replace.

A claim gets a new row if the new records give it a value, unless its stored row has more seeds in some condition.
`--replace` also replaces rows with more seeds. All other claims keep their stored rows. So a plan can be run in parts,
and a store may be thrown away.

Seeds are counted by the measured cases that the stored results name. Only cases of the present plan count, since a
change of the protocol changes the keys of cases. So a row of an earlier protocol stays until new records measure its
claim, with any number of seeds. Some stored results do not name all their cases. Their seeds are counted by the values
in the rows, as if all were of the present protocol.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results import Case, Claim

NOT_MEASURED = "not measured"
"""The verdict on a claim without a value."""
SEEDS = re.compile(r", ([\d,]+) seeds?(?: of [\d,]+)?(?:, holds for (?:[\d,]+|none))?$")
"""The number of seeds at the end of the value of a finding, such as `0.961 (0.906 to 1.000), 3 seeds, holds for 1`."""

Row = dict[str, Any]
"""A row of the ledger."""
Results = dict[str, Any]
"""The results of one plan: `runs` is a list of runs, `cases` the number of measured and of planned cases, `measured`
the keys of the measured ones, and `claims` the rows of the ledger."""


def rows_with_value(results: Results) -> dict[str, Row]:
    """Return the rows of the claims that have a value, by the name of the claim."""
    return {row["name"]: row for row in results["claims"] if row["kind"] != NOT_MEASURED}


def names_all_cases(results: Results) -> bool:
    """Return whether stored results name all their measured cases."""
    measured: int = results["cases"][0]
    return len(results.get("measured", ())) >= measured


def rows_with_more_seeds(former: Results, new: Results, claims: Sequence[Claim], cases: Sequence[Case]) -> set[str]:
    """Return the names of the claims that new results measure with fewer seeds than the former ones in some condition.

    Args:
        former: The stored results of a plan.
        new: Its new results.
        claims: The claims of the plan.
        cases: The cases of the plan.
    """
    former_rows, new_rows = rows_with_value(former), rows_with_value(new)
    names = set()
    for claim in claims:
        if claim.name not in former_rows or claim.name not in new_rows:
            continue
        if names_all_cases(former):
            keys = keys_of([claim], cases)
            used = [case for case in cases if case.key in keys]
            lost = _seeds_by_case(used, former.get("measured", ())) - _seeds_by_case(used, new["measured"])
        else:
            lost = _seeds_by_value(former_rows[claim.name]) - _seeds_by_value(new_rows[claim.name])
        if lost:
            names.add(claim.name)
    return names


def rows_of_earlier_protocol(former: Results, new: Results, claims: Sequence[Claim], cases: Sequence[Case]) -> set[str]:
    """Return the names of the claims that have new values, and former values of cases that left the plan only.

    Args:
        former: The stored results of a plan.
        new: Its new results.
        claims: The claims of the plan.
        cases: The cases of the plan.
    """
    if not names_all_cases(former):
        return set()
    names = rows_with_value(former).keys() & rows_with_value(new).keys()
    measured = set(former.get("measured", ()))
    return {claim.name for claim in claims if claim.name in names and measured.isdisjoint(keys_of([claim], cases))}


def _seeds_by_case(cases: Sequence[Case], measured: Sequence[str]) -> Counter[str]:
    """Return the number of measured cases that differ in the seed only, by the key of such a case with seed 0."""
    keys = set(measured)
    return Counter(case.model_copy(update={"seed": 0}).key for case in cases if case.key in keys)


def _seeds_by_value(row: Row) -> Counter[str]:
    """Return the number of seeds that the values of a row state, by condition."""
    seeds: Counter[str] = Counter()
    for finding in row["findings"]:
        match = SEEDS.search(finding["value"])
        assert match is not None, f"no number of seeds in {finding['value']!r}"
        seeds[finding["condition"]] += int(match[1].replace(",", ""))
    return seeds


def merged(
    former: Results, new: Results, outweighed: AbstractSet[str], claims: Sequence[Claim], cases: Sequence[Case]
) -> Results:
    """Return new results of a plan, with the former rows of some claims and of those without a new value.

    Cases count as measured if a row rests on them. Former results that do not name all their cases count as far as the
    new ones do not exceed them.

    Args:
        former: The stored results of the plan.
        new: Its new results.
        outweighed: The names of claims that keep their former rows although they have a new value.
        claims: The claims of the plan.
        cases: The cases of the plan.
    """
    rows = rows_with_value(former)
    replaced = rows_with_value(new).keys() - outweighed
    kept = {claim.name for claim in claims if claim.name in rows} - replaced
    if not kept:
        return new
    of_kept, of_replaced = (
        keys_of([claim for claim in claims if claim.name in names], cases) for names in (kept, replaced)
    )
    measured = {case.key for case in cases} & set(former.get("measured", ())) - (of_replaced - of_kept)
    runs = {run["id"]: run for run in former["runs"]}
    if replaced:
        measured |= set(new["measured"]) - (of_kept - of_replaced)
        runs |= {run["id"]: run for run in new["runs"]}
    count = len(measured) if names_all_cases(former) else max(len(measured), former["cases"][0])
    return {
        "runs": [run for _, run in sorted(runs.items())],
        "cases": [count, new["cases"][1]],
        "measured": sorted(measured),
        "claims": [
            rows[row["name"]] | {key: row[key] for key in ("text", "source", "published", "remarks")}
            if row["name"] in kept
            else row
            for row in new["claims"]
        ],
    }


def keys_of(claims: Sequence[Claim], cases: Sequence[Case]) -> set[str]:
    """Return the keys of the cases that some claims measure or compare with."""
    from results import judge

    selections = [claim.cases for claim in claims]
    selections += [claim.against.cases for claim in claims if claim.against is not None and claim.against.cases]
    alone = [claims[0].model_copy(update={"cases": selection, "against": None}) for selection in selections]
    return {case.key for case in cases if any(entry.findings for entry in judge(alone, [case], []))}
