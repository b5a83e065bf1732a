"""`carousel run --against`: measure a plan with two versions in turns, and check the new one for regressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from bench.against.planned import Settings
from bench.against.version import require_named
from bench.commands.compare import CheckFiles, compare_stored, report_check
from bench.commands.comparison_options import parse_allow, parse_fail_on, parse_renames
from bench.commands.output import print_lines
from bench.commands.quantities import parse_time_limit
from bench.errors import UsageError
from bench.plans.grid import reported_cases
from bench.plans.plan import Plan
from reports.format import plural
from results import METRICS, TIMING_PROBES, Run, RunFile
from results.comparison import COMPARED_METRICS, LOOKS, METRIC_FAMILIES, NOT_RUN, Comparison

DEFAULT_PAIRS = 20
"""Number of pairs of processes with which a slow-down of 5% is found in 90% of cases, if processes vary by 2%."""

EARLY_STOPPED = "early_stopped_accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstOptions:
    """The options of `carousel run` that need `--against`. None means that an option is not given."""

    base: str | None = None
    """Python, folder or git revision of the base."""
    pairs: int | None = None
    """Largest number of pairs of processes; one of `LOOKS`."""
    time_limit: str | None = None
    """Duration after which no new pair starts, such as `10min`."""
    fail_on: str | None = None
    """Metrics that fail the check, as `parse_fail_on` reads them."""
    allow: str | None = None
    """Fields in which the versions may differ, separated by commas."""
    rename: Sequence[str] = ()
    """New names of architectures and tasks, such as `old=new`, in addition to those of the plan."""
    base_plugin_files: Sequence[Path] = ()
    """Files of plugins in the state in which the base has them."""
    build: bool = False
    """Whether to build an environment for a revision that pins other packages than those installed here."""
    strict: bool = False
    """Whether inconclusive results fail the check."""
    files: CheckFiles = field(default_factory=CheckFiles)
    """Files for the results of the check."""

    def settings(
        self, *, repeat: int, scheduler: str | None, as_json: bool = False, plugin_files: Sequence[Path] = ()
    ) -> Settings | None:
        """Return the settings of a run in turns, or None without `--against`.

        `repeat` and `scheduler` are the values of the options that exclude `--against`. `as_json` is that of `--json`,
        and `plugin_files` are those of `--plugin`. Raises `UsageError` if an option is invalid, if the base is empty,
        or if an option needs `--against`.
        """
        given = {
            "--pairs": self.pairs,
            "--time-limit": self.time_limit,
            "--fail-on": self.fail_on,
            "--allow": self.allow,
            "--rename": self.rename or None,
            "--base-plugin": self.base_plugin_files or None,
            "--build": self.build or None,
            "--strict": self.strict or None,
        } | self.files.by_option()
        if self.base is None:
            if alone := [option for option, value in given.items() if value is not None]:
                raise UsageError(f"{alone[0]} is for a comparison with a base: add --against BASE")
            return None
        require_named(self.base)
        if scheduler is not None:
            raise UsageError("--against and --scheduler exclude each other: both versions are measured on one machine")
        if repeat != 1:
            raise UsageError("--against and --repeat exclude each other: --pairs limits the number of processes")
        pairs = DEFAULT_PAIRS if self.pairs is None else self.pairs
        if pairs not in LOOKS:
            raise UsageError(
                f"--pairs must be one of {', '.join(map(str, LOOKS))}, not {pairs}: cases are decided then"
            )
        self.files.require_distinct(as_json=as_json)
        criterion = parse_fail_on(self.fail_on)
        return Settings(
            base=self.base,
            pairs=pairs,
            time_limit=None if self.time_limit is None else parse_time_limit("--time-limit", self.time_limit),
            thresholds=criterion.thresholds,
            metrics=criterion.metrics,
            allow=parse_allow(self.allow),
            renamed=parse_renames(self.rename),
            plugin_files=plugin_files,
            base_plugin_files=self.base_plugin_files,
            build=self.build,
        )


def require_measured(fail_on: str | None, plan: Plan) -> None:
    """Raise `UsageError` if `--fail-on` names a metric that no case of a plan can have.

    `fail_on` is the value of the option, which `parse_fail_on` accepts. Sizes are properties of every model.
    """
    for name in [] if fail_on is None else [part.partition(":")[0].strip() for part in fail_on.split(",")]:
        metrics = {each: COMPARED_METRICS[each].probe for each in METRIC_FAMILIES[name]}
        probes = dict.fromkeys(probe for probe in metrics.values() if probe is not None)
        if any(COMPARED_METRICS[each].kind == "size" and each not in METRICS for each in metrics):
            continue
        if not probes:
            raise UsageError(f"--fail-on {name}: only files of pytest-benchmark have this metric; leave it out")
        protocols = [each.case.protocol for each in reported_cases(plan)]
        if not probes.keys() & set(plan.measure):
            probe = next(iter(probes))
            is_possible = probe in TIMING_PROBES or all(protocol.trains for protocol in protocols)
            advice = f", or add the probe {probe} to --measure" if is_possible else ", since it needs trained models"
            raise UsageError(
                f"--fail-on {name}: no probe of the plan ({', '.join(plan.measure)}) measures it; leave it out{advice}"
            )
        if metrics.keys() == {EARLY_STOPPED} and not any(protocol.keep_best for protocol in protocols):
            raise UsageError(
                f"--fail-on {name}: no case keeps its best weights; leave it out, or add --set keep_best=true"
            )


def check_in_turns(
    store: Path, base: Run, new: Run, options: AgainstOptions, console: Console, *, as_json: bool
) -> int:
    """Check a new run against the base with which it was measured in turns, and return the exit code of `check`.

    Args:
        store: Folder of runs.
        base: The run of the base.
        new: The run of the new version.
        options: The options that the user gave.
        console: Console for messages.
        as_json: Whether to print one JSON document on standard output instead of the verdicts.
    """
    criterion = parse_fail_on(options.fail_on)
    # Both runs recorded the new names, and no case need have an old one.
    comparison = compare_stored(store, base.id, new.id, thresholds=criterion.thresholds, allow=options.allow)
    code = report_check(comparison, criterion, options.files, strict=options.strict, as_json=as_json)
    if as_json:
        print_lines([f"runs: base {base.id}, new {new.id}"], console)  # otherwise the verdicts name them
    if limit := _limit_in_words(comparison, options):
        print_lines([limit], console)
    return code


def _limit_in_words(comparison: Comparison, options: AgainstOptions) -> str:
    """Return that the time limit left timings undecided, or "" if it did not."""
    run = comparison.new
    if options.time_limit is None or not isinstance(run, RunFile):
        return ""
    pairs = DEFAULT_PAIRS if options.pairs is None else options.pairs
    if any(missing.reason.endswith(NOT_RUN) for missing in comparison.missing):
        done = "some cases were not timed at all"
    elif run.repeat < pairs and any(row.verdict == "inconclusive" and row.additional_units for row in comparison.rows):
        done = f"{plural(run.repeat, 'pair')} of at most {pairs} {'was' if run.repeat == 1 else 'were'} measured"
    else:
        return ""
    return f"the time limit of {options.time_limit} is reached: {done}; give a longer --time-limit"
