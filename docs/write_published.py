"""Write docs/published.json and docs/published.md from stored runs of the plans that repeat published results.

    carousel run published/householders --store runs
    python docs/write_published.py runs

Claims that the stores can judge replace the former rows of the ledger. Other claims keep their rows in
docs/published.json. So a plan can be run in parts, and a store may be thrown away. Without arguments, only the page is
written, from the results in docs/published.json and the texts of the plans.

The claims are those of the plan as it is now, and the records are the newest ones of its cases. So a claim can be
worded better without another run, and a run of one more architecture completes an earlier run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results import Record, RunFile

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "published.md"
RESULTS = HOME / "docs" / "published.json"
OWN_STUDY = "seed"
NOT_MEASURED = "not measured"
"""The verdict on a claim without a value."""
FAILED = ("crashed", "timeout", "out_of_memory")
"""Statuses of records that do not replace an older record of their case."""

Results = dict[str, Any]
"""The results of one plan: `runs` is a list of runs, `cases` the number of measured and of planned cases, `measured`
the keys of the measured ones, and `claims` the rows of the ledger."""

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


def main(stores: Sequence[str]) -> None:
    """Update the results from the given stores, and write the page."""
    results = stored_results()
    for name in plan_names() if stores else ():
        if (found := results_of(name, [Path(store) for store in stores])) is not None:
            results[name] = merged(results.get(name), found)
            found = results[name]
            print(f"{name}: {found['cases'][0]} of {found['cases'][1]} cases")
    worded = {name: as_worded_now(name, results[name]) for name in plan_names() if name in results}
    text = json.dumps(worded, indent=1, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


def plan_names() -> list[str]:
    """Return the names of the plans that repeat published results."""
    from bench.plans.plan import names

    return [*(name for name in names() if name.startswith("published/")), OWN_STUDY]


def stored_results() -> dict[str, Results]:
    """Return the results in docs/published.json by plan name."""
    results: dict[str, Results] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return results


def results_of(name: str, stores: Sequence[Path]) -> Results | None:
    """Return the results of a plan from the newest records of its cases, or None if the stores have none."""
    from bench.plans.grid import reported_cases
    from bench.plans.plan import load
    from reports import ledger

    plan = load(name)
    cases = [planned.case for planned in reported_cases(plan)]
    found = newest_records({case.key for case in cases}, stores)
    if not found:
        return None
    records = [record for record, _ in found.values()]
    runs = {file.id: file for _, file in found.values()}
    last = runs[max(runs)]
    rows = ledger(last.model_copy(update={"claims": plan.claims, "cases": tuple(cases)}), records)
    return {
        "runs": [
            {
                "id": file.id,
                "commit": file.commit,
                "modified": bool(file.modified),
                "created": file.created,
                "cpu": file.environment.cpu,
            }
            for _, file in sorted(runs.items())
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


def merged(former: Results | None, found: Results) -> Results:
    """Return new results of a plan, with the former rows of claims that only the former results measured.

    The number of measured cases is that of both. Former results that do not name their cases count as far as the new
    ones do not exceed them.
    """
    rows = {} if former is None else {row["name"]: row for row in former["claims"] if row["kind"] != NOT_MEASURED}
    kept = [row["name"] for row in found["claims"] if row["kind"] == NOT_MEASURED and row["name"] in rows]
    if former is None or not kept:
        return found
    measured = sorted({*former.get("measured", ()), *found["measured"]})
    runs = {run["id"]: run for run in (*former["runs"], *found["runs"])}
    return {
        "runs": [run for _, run in sorted(runs.items())],
        "cases": [max(len(measured), former["cases"][0]), found["cases"][1]],
        "measured": measured,
        "claims": [
            rows[row["name"]] | {key: row[key] for key in ("text", "source", "published", "remarks")}
            if row["name"] in kept
            else row
            for row in found["claims"]
        ],
    }


def newest_records(keys: set[str], stores: Sequence[Path]) -> dict[str, tuple[Record, RunFile]]:
    """Return the newest readable record of each case with the file of its run, by case key."""
    from results import Store

    found: dict[str, tuple[Record, RunFile]] = {}
    runs = [(run, run.file()) for store in stores for run in Store(store).in_order()]
    for run, file in sorted(runs, key=lambda each: each[1].id):
        if keys.isdisjoint(case.key for case in file.cases):
            continue
        records, _ = run.read()
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
