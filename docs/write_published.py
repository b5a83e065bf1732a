"""Write docs/published.json and docs/published.md from stored runs of the plans that repeat published results.

    carousel run published/householders --store runs
    python docs/write_published.py runs

Without stores, only the page is written, from the results in docs/published.json and the texts of the plans.

The claims are those of the plan as it is now, and the records are the newest ones of its cases. So a claim can be
worded better without another run, and a run of one more architecture completes an earlier run.

docs/published_rows.py decides which rows of the ledger are replaced.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from published_rows import Results, merged, rows_of_earlier_protocol, rows_with_more_seeds, rows_with_value

if TYPE_CHECKING:
    from results import Case, Claim, Record, Run, RunFile

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "published.md"
RESULTS = HOME / "docs" / "published.json"
OWN_STUDY = "seed"
FAILED = ("crashed", "timeout", "out_of_memory")
"""Statuses of records that do not replace an older record of their case."""

INTRODUCTION = """\
# Published results, repeated

<!-- Written by docs/write_published.py from stored runs; run it again instead of editing this page. -->

A benchmark earns trust by agreeing with results that others obtained, or by showing why not. Each plan below repeats a
published experiment. This page shows the published values, which the plans state, beside those of stored runs. To
repeat an experiment:

```text
carousel run published/householders --store runs
python docs/write_published.py runs
```

A value of ours is a mean over seeds with its 95% interval. The interval covers the seeds and the test sets.

- *reproduced*: our mean lies within the bounds, or our interval overlaps that of the source, if it reports one.
- *not reproduced*: neither is true. The remarks say what was tried, if anything was.
- *undecided*: models were still learning when the training ended, and more steps could change the verdict.
- *depends on …*: the claim holds in some conditions and not in others.
- *not comparable*: both values are known, but a difference of protocol forbids a verdict.
- *not measured*: no case has a value. A number of sequences exists only for seeds that solve the task.

± gives the tolerance that a plan states for a published value.

| plan | source of the claims | last run | claims |
|---|---|---|---|
"""


def main(arguments: Sequence[str]) -> None:
    """Update the results from the stores in `arguments`, write the page, and print what was updated.

    Wrong arguments end the program with exit code 2, and then no file is written.
    """
    parser = argparse.ArgumentParser(
        description="Write docs/published.json and docs/published.md from stored runs of the plans that repeat "
        "published results."
    )
    parser.add_argument(
        "stores",
        nargs="*",
        type=Path,
        metavar="STORE",
        help="Folder that `carousel run --store` wrote to. Without stores, only the page is written.",
    )
    parser.add_argument("--replace", action="store_true", help="Replace stored rows that have more seeds, too.")
    options = parser.parse_args(arguments)
    from results import StoreError

    results = stored_results()
    if not options.stores:
        print("no stores given: writing the page only")
    try:
        runs = readable_runs(options.stores)
    except StoreError as error:
        parser.error(str(error))
    updates = [update(name, results, runs, is_replacing=options.replace) for name in plan_names() if runs]
    if options.stores and not any(updates):
        plans = sorted({file.plan for _, file in runs})
        print(f"no result was updated; the given stores have runs of {', '.join(plans) or 'no plan'}")
    worded = {name: as_worded_now(name, results[name]) for name in plan_names() if name in results}
    text = json.dumps(worded, indent=1, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def readable_runs(stores: Sequence[Path]) -> list[tuple[Run, RunFile]]:
    """Return the runs of some stores with their files, from the oldest to the newest.

    Runs with an unreadable file are reported and omitted. Raises `StoreError` if one of the stores is no folder with
    runs.
    """
    from results import Store, StoreError

    found = []
    for store in stores:
        if not store.exists():
            raise StoreError(f"{store} does not exist; give the folder of `carousel run --store`")
        if not store.is_dir():
            raise StoreError(f"{store} is not a folder; give the folder of `carousel run --store`")
        if (store / "run.json").exists():
            raise StoreError(f"{store} is a single run; give its store, {store.resolve().parent}")
        runs = Store(store).runs()
        if not runs:
            raise StoreError(f"no runs in {store}; give the folder of `carousel run --store`")
        for run in runs:
            try:
                found.append((run, run.file()))
            except StoreError as error:
                print(f"run omitted: {error}")
    return sorted(found, key=lambda each: each[1].id)


def update(
    name: str, results: dict[str, Results], runs: Sequence[tuple[Run, RunFile]], *, is_replacing: bool = False
) -> bool:
    """Update the results of a plan from some runs, print what was done, and return whether a row was updated.

    Args:
        name: The name of the plan.
        results: The results by plan name, which are changed in place.
        runs: Runs with their files, from the oldest to the newest.
        is_replacing: Whether new rows also replace stored ones that have more seeds.
    """
    from bench.plans.grid import reported_cases
    from bench.plans.plan import load

    plan = load(name)
    cases = [planned.case for planned in reported_cases(plan)]
    keys = {case.key for case in cases}
    own = [file for _, file in runs if file.plan == Path(name).name]
    given = {case.key for file in own for case in file.reported_cases}
    new = results_of(plan.claims, cases, runs)
    if new is None:
        if given:
            print(f"{name}: no record of its present cases in the given stores")
        return False
    if given - keys:
        print(f"{name}: {len(given - keys)} of {len(given)} cases in the given stores are not in the present plan")
    former, count = results.get(name), len(plan.claims)
    outweighed: set[str] = set()
    if former is not None and not is_replacing:
        outweighed = rows_with_more_seeds(former, new, plan.claims, cases)
    if former is not None and (earlier := rows_of_earlier_protocol(former, new, plan.claims, cases)):
        print(
            f"{name}: the stored rows of {len(earlier)} of {count} claims are of an earlier protocol and are replaced"
        )
    results[name] = new if former is None else merged(former, new, outweighed, plan.claims, cases)
    updated = rows_with_value(new).keys() - outweighed
    measured, planned = results[name]["cases"]
    print(f"{name}: {len(updated)} of {count} claims updated; {measured} of {planned} cases measured")
    if outweighed:
        print(
            f"{name}: {len(outweighed)} of {count} claims keep their stored rows, which have more seeds than the given "
            "stores; also give stores with the other seeds, or take the new rows with --replace"
        )
    return former is None or bool(updated)


def plan_names() -> list[str]:
    """Return the names of the plans that repeat published results."""
    from bench.plans.plan import names

    return [*(name for name in names() if name.startswith("published/")), OWN_STUDY]


def stored_results() -> dict[str, Results]:
    """Return the results in docs/published.json by plan name."""
    results: dict[str, Results] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return results


def results_of(claims: Sequence[Claim], cases: Sequence[Case], runs: Sequence[tuple[Run, RunFile]]) -> Results | None:
    """Return the results of a plan from the newest records of its cases, or None if the runs have none."""
    from reports import ledger

    found = newest_records({case.key for case in cases}, runs)
    if not found:
        return None
    records = [record for record, _ in found.values()]
    files = {file.id: file for _, file in found.values()}
    last = files[max(files)]
    rows = ledger(last.model_copy(update={"claims": tuple(claims), "cases": tuple(cases)}), records)
    return {
        "runs": [
            {
                "id": file.id,
                "commit": file.commit,
                "modified": bool(file.modified),
                "created": file.created,
                "cpu": file.environment.cpu,
            }
            for _, file in sorted(files.items())
        ],
        "cases": [sum(record.status == "ok" for record in records), len(cases)],
        "measured": sorted(record.key for record in records if record.status == "ok"),
        "claims": [asdict(row) for row in rows],
    }


def as_worded_now(name: str, results: Results) -> Results:
    """Return the results of a plan with the texts and remarks that the plan has now."""
    from bench.plans.plan import load
    from reports import ledger_remarks

    texts = {
        claim.name: {"text": claim.text, "source": claim.source, "remarks": list(ledger_remarks(claim))}
        for claim in load(name).claims
    }
    return results | {"claims": [row | texts.get(row["name"], {}) for row in results["claims"]]}


def newest_records(keys: AbstractSet[str], runs: Sequence[tuple[Run, RunFile]]) -> dict[str, tuple[Record, RunFile]]:
    """Return the newest readable record of each case with the file of its run, by case key.

    Unreadable records are reported. The runs are given from the oldest to the newest.
    """
    found: dict[str, tuple[Record, RunFile]] = {}
    for run, file in runs:
        if keys.isdisjoint(case.key for case in file.cases):
            continue
        records, damaged = run.read()
        for damage in damaged:
            print(f"record omitted: {damage.path}: {damage.reason}")
        found |= {
            key: (record, file)
            for key, record in records.items()
            if key in keys and (key not in found or record.status not in FAILED)
        }
    return found


def page() -> str:
    """Return the content of docs/published.md."""
    results = stored_results()
    rows = "".join(f"{_overview_row(name, results.get(name))}\n" for name in plan_names())
    sections = "".join(f"\n{_section(name, results[name])}" for name in plan_names() if name in results)
    return INTRODUCTION + rows + sections


def _overview_row(name: str, results: Results | None) -> str:
    from bench.plans.plan import load

    sources = "; ".join(dict.fromkeys(claim.source.split(",")[0].split(":")[0] for claim in load(name).claims))
    if results is None:
        return f"| `{name}` | {sources} | not run yet | |"
    anchor = name.replace("/", "")
    counts = _summary(results).partition(": ")[2].rstrip(".")
    return f"| [`{name}`](#{anchor}) | {sources} | {results['runs'][-1]['created'][:10]} | {counts} |"


def _section(name: str, results: Results) -> str:
    from bench.plans.plan import load

    claims = results["claims"]
    shared = _shared_remarks(claims)
    measured, planned = results["cases"]
    cases = (
        f"{measured} of {planned} cases were measured" if measured < planned else f"All {planned} cases were measured"
    )
    paragraphs = [
        f"## {name}",
        f"{load(name).summary[:1].upper()}{load(name).summary[1:]}.",
        f"{cases}. {_summary(results)}",
        "\n".join(_runs(results)),
        *shared,
        "| | claim | measured | published | bounds | ours | verdict |\n|--:|---|---|---|---|---|---|\n"
        + "\n".join(_row(number, claim) for number, claim in enumerate(claims, 1)),
    ]
    if own := list(_own_remarks(claims, shared)):
        paragraphs.append("\n".join(own))
    return "\n\n".join(paragraphs) + "\n"


def _summary(results: Results) -> str:
    from reports import LedgerFinding, LedgerRow, ledger_summary

    return ledger_summary(
        [
            LedgerRow(**row | {"findings": tuple(LedgerFinding(**finding) for finding in row["findings"])})
            for row in results["claims"]
        ]
    )


def _runs(results: Results) -> Iterator[str]:
    for run in results["runs"]:
        commit = "outside a checkout" if run["commit"] is None else f"commit `{run['commit'][:12]}`"
        modified = ", modified" if run["modified"] else ""
        yield f"- Run `{run['id']}`, {run['created'][:10]}, {commit}{modified}, on {run['cpu']}"


def _row(number: int, claim: dict[str, Any]) -> str:
    findings = claim["findings"]
    values = [(f"{each['condition']}: " if len(findings) > 1 else "") + each["value"] for each in findings]
    verdict = claim["verdict"] + (f" ({claim['doubt']})" if claim["doubt"] else "")
    bounds = claim["rule"].removesuffix(", as published")
    cells = (str(number), claim["text"], claim["measured"], claim["published"], bounds, "; ".join(values), verdict)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _shared_remarks(claims: Sequence[dict[str, Any]]) -> list[str]:
    """Return the remarks that all claims of a plan have."""
    return [remark for remark in claims[0]["remarks"] if all(remark in claim["remarks"] for claim in claims)]


def _own_remarks(claims: Sequence[dict[str, Any]], shared: Sequence[str]) -> Iterator[str]:
    """Yield one list item per remark that some claims have, with the numbers of these claims: `Claims 1–3, 7: …`."""
    by_remark: dict[str, list[int]] = {}
    for number, claim in enumerate(claims, 1):
        for remark in claim["remarks"]:
            if remark not in shared:
                by_remark.setdefault(remark, []).append(number)
    for remark, numbers in by_remark.items():
        yield f"- {'Claim' if len(numbers) == 1 else 'Claims'} {_ranges(numbers)}: {remark}"


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with `–` between the ends of runs of consecutive ones: `1–3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    main(sys.argv[1:])
