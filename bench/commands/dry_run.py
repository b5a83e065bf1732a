"""The cases of a run that has not started: a table for `carousel run --dry-run`, and a document with `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.commands.find_case import differences
from bench.commands.output import print_json
from bench.progress.display import format_duration
from bench.runner.pending import Pending
from reports.format import plural, print_table
from results import BUDGETS, Case

MOST_COMMON = "the most common protocol"
UNITS = {"params": "parameters", "width": "wide", "state": "bytes of state", "step_flops": "FLOPs per step"}

Row = dict[str, Any]


def case_rows(pending: Pending) -> list[Row]:
    """Return one row per setting of a run: its cases that differ only in the seed, in the order of the plan.

    A row has the architecture, the task, the trained length, the depth, the size, the seeds, the learning rate (or the
    rates of which one is chosen), what distinguishes the setting from others, the number of cases that are done, and
    the seconds that the others will probably take on one worker.
    """
    by_setting: dict[str, list[Case]] = {}
    for case in pending.file.reported_cases:
        by_setting.setdefault(case.setting.key, []).append(case)
    settings = [cases[0].setting for cases in by_setting.values()]
    tuning = _tuning_seconds(pending)
    untrained, untimed = ({case.key for case in cases} for cases in (pending.untrained, pending.untimed))
    estimator, probes = pending.estimator, pending.timing_probes

    def seconds(case: Case) -> float:
        timing = pending.file.repeat * estimator.timing_seconds(case, probes)
        if case.key in untrained:
            return estimator.training_seconds(case) + timing
        return timing if case.key in untimed else 0.0

    return [
        {
            "arch": setting.arch,
            "task": setting.task,
            "length": setting.length,
            "depth": setting.depth,
            **{kind: amount for kind in BUDGETS if (amount := getattr(setting, kind)) is not None},
            "seeds": [case.seed for case in cases],
            "learning_rate": setting.protocol.learning_rate
            if setting.tuning is None
            else list(setting.tuning.learning_rates),
            "differs": differing,
            "done": sum(case.key not in untrained | untimed for case in cases),
            "seconds": sum(map(seconds, cases)) + tuning.get(setting.key, 0.0),
        }
        for (cases, setting), differing in zip(
            zip(by_setting.values(), settings, strict=True), _differing(settings), strict=True
        )
    ]


def print_dry_run(pending: Pending, console: Console, *, as_json: bool) -> None:
    """Print the rows of `case_rows` as a table, or as one JSON document on standard output."""
    rows = case_rows(pending)
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    has_differences = any(row["differs"] for row in rows)
    headings = ["architecture", "task", "length", "size", "seeds", "rate", *(["differs in"] if has_differences else [])]
    for heading in [*headings, "done", "time"]:
        table.add_column(heading, justify="right" if heading in ("length", "seeds", "done", "time") else "left")
    for row in rows:
        rate, count = row["learning_rate"], len(row["seeds"])
        cells = [
            row["arch"],
            row["task"],
            f"{row['length']:,}",
            _size(row),
            f"{count}",
            f"best of {len(rate)}" if isinstance(rate, list) else "" if rate is None else f"{rate:g}",
            *([row["differs"]] if has_differences else []),
            f"{row['done']} of {count}",
            format_duration(row["seconds"]) if row["seconds"] else "",
        ]
        table.add_row(*map(Text, cells))
    print_table(table, console)


def _size(row: Row) -> str:
    sizes = [f"{row[kind]:,} {UNITS[kind]}" for kind in BUDGETS if kind in row]
    return ", ".join([plural(row["depth"], "layer"), *sizes])


def _differing(settings: Sequence[Case]) -> list[str]:
    """Return what distinguishes each setting from the others, besides what every row shows."""
    shown: Row = {
        "arch": "a",
        "task": "t",
        "task_version": 1,
        "task_data": None,
        "length": 1,
        "depth": 1,
        **dict.fromkeys((*BUDGETS, "tuning")),
    }
    plain = [
        setting.model_copy(update=shown | {"protocol": setting.protocol.model_copy(update={"learning_rate": None})})
        for setting in settings
    ]
    return ["" if text == MOST_COMMON else text for text in differences(plain)]


def _tuning_seconds(pending: Pending) -> dict[str, float]:
    """Return the expected seconds of the training that chooses the rates of each setting, by the setting's key."""
    untuned = {case.key for case in pending.untuned}
    return {
        setting.key: sum(
            pending.estimator.training_seconds(case) for case in setting.tuning_cases() if case.key in untuned
        )
        for setting in {case.setting.key: case.setting for case in pending.file.reported_cases}.values()
    }
