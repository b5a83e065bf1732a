"""`carousel bisect`: find the commit that made a case slower, by measuring commits in turns with a good one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

from rich.console import Console

from bench.against.environment import PINNING
from bench.against.measure import measure_in_turns
from bench.against.planned import Settings, selected_cases
from bench.against.version import PACKAGES, Version, found_version, require_revision, revisions_between
from bench.against.version_plugins import in_checkout, shared_although_tracked
from bench.commands.compare import compare_stored
from bench.commands.comparison_options import FailureCriterion, parse_fail_on
from bench.commands.output import new_console, print_json, print_lines
from bench.commands.run import RunOptions, choose_plan, new_request
from bench.commands.run_against import require_measured
from bench.errors import FAILED, INTERRUPTED, NOTHING_SELECTED, OK, UsageError
from bench.machine.streams import only_documents_on_standard_output
from bench.plans.grid import cases as planned_cases
from bench.plugins import loader
from bench.runner.request import Request
from reports.format import plural
from reports.text import case_text, change_of, missing_text, name_of, reasons_in_words
from results.comparison import Comparison

Answer = Literal["good", "bad", "unknown"]

SHORT = 10
"""Number of digits of a commit that are shown."""
FLAGS = frozenset({"-v", "--verbose", "--json", "--build", "--"})
"""Words of the command that begin with a dash and have no value."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """What a search found: the positions of the commits of which one is the first bad one."""

    first: int
    last: int

    @property
    def is_found(self) -> bool:
        return self.first == self.last


def search(count: int, judge: Callable[[int], Answer]) -> Suspects | None:
    """Find the first bad one of `count` commits in a row, of which the last one should be bad.

    `judge` says whether a commit is good, bad, or cannot be judged. A commit that cannot be judged is passed over, and
    one beside it is judged instead. Returns None if the last commit is not bad.
    """
    if judge(count - 1) != "bad":
        return None
    good, bad, unknown = -1, count - 1, set[int]()
    while candidates := [each for each in range(good + 1, bad) if each not in unknown]:
        middle = (good + bad) / 2
        chosen = min(candidates, key=lambda each: abs(each - middle))
        answer = judge(chosen)
        if answer == "good":
            good = chosen
        elif answer == "bad":
            bad = chosen
        else:
            unknown.add(chosen)
    return Suspects(first=good + 1, last=bad)


def bisect(good: str, bad: str, options: RunOptions, *, case: str | None, arguments: Sequence[str]) -> int:
    """Find the first commit after `good` that makes a case slower or worse, print it, and return the exit code.

    Each step measures one commit in turns with `good`. A commit is bad if a metric of `--fail-on` regressed. It is
    passed over if it cannot be measured, or if a result of these metrics is inconclusive.

    Args:
        good: A git revision without the regression.
        bad: A later revision with it.
        options: What to measure, as for `carousel run`; `options.against` says how.
        case: Pattern of the cases to measure; None for all cases of the plan.
        arguments: The words after `carousel`.

    Raises `UsageError` if an option is invalid, if a revision is unknown, or if no commit between them changes what is
    measured.
    """
    console = new_console(stderr=options.as_json)
    require_revision("GOOD", good)
    require_revision("BAD", bad)
    against = replace(options.against, base=good)
    settings = against.settings(repeat=options.repeat, scheduler=options.scheduler, plugin_files=options.plugin_files)
    assert settings is not None
    commits, changed = commits_to_search(good, bad, settings)
    steps: list[dict[str, str]] = []
    bounds = {"good": good, "bad": bad}
    with only_documents_on_standard_output(options.as_json), contextlib.ExitStack() as stack:
        if case is not None:
            loader.load(options.plugin_files)
            selected_cases(planned_cases(choose_plan(options)), case)
        request = new_request(options, arguments, console)
        require_measured(options.against.fail_on, request.plan)
        verb = "changes" if len(commits) == 1 else "change"
        print_lines([f"{plural(len(commits), 'commit')} from {good} to {bad} {verb} {changed}"], console)
        base = stack.enter_context(_version(good, settings, console))
        shared = shared_although_tracked(base, request, settings.plugin_files)
        advice = "; to find its commit, run git bisect there, with carousel run --against and --base-plugin"
        print_lines([f"{sentence}{advice}" for sentence in shared], console, style="yellow")
        settings = replace(settings, base=base, cases=case)

        def judge(position: int) -> Answer:
            commit, subject = commits[position]
            name = f"{commit[:SHORT]} {subject}"
            answer, reason = _judge(commit, request, settings, options, console)
            said = "cannot be told" if answer == "unknown" else answer
            print_lines([f"{said}: {name}", f"  {reason}"], console)
            steps.append({"commit": commit, "subject": subject, "answer": answer, "reason": reason})
            if position < len(commits) - 1 and answer in bounds:
                bounds[answer] = commit[:SHORT]
            return answer

        try:
            suspects = search(len(commits), judge)
        except KeyboardInterrupt:
            command = command_between(arguments, (good, bad), (bounds["good"], bounds["bad"]))
            print_lines([f"to continue the search, run `{command}`"], console)
            return INTERRUPTED
    found = [] if suspects is None else commits[suspects.first : suspects.last + 1]
    code = _exit_code(suspects, steps)
    if options.as_json:
        suspected = [{"commit": commit, "subject": subject} for commit, subject in found]
        print_json({"exit_code": code, "suspects": suspected, "steps": steps})
    else:
        print_lines(_conclusion(good, bad, found, steps), console)
    return code


def commits_to_search(good: str, bad: str, settings: Settings) -> tuple[list[tuple[str, str]], str]:
    """Return the commits between two revisions that change what decides the measurements, and what this is in words.

    These are the packages, the plugin files in the checkout and, if environments are built, the pinned packages. Raises
    `UsageError` if no commit changes any of them.
    """
    plugins = [file.as_posix() for file in in_checkout(settings.plugin_files)]
    pinning = PINNING if settings.build else ()
    changed = " or ".join(["Carousel's packages", *plugins, *pinning])
    commits = revisions_between(good, bad, paths=(*PACKAGES, *plugins, *pinning))
    if not commits:
        pins = [] if settings.build else revisions_between(good, bad, paths=PINNING)
        advice = "; to measure commits with the packages that they pin, add --build" if pins else ""
        raise UsageError(f"no commit from {good} to {bad} changes {changed}, so none can be the cause{advice}")
    return commits, changed


def _version(revision: str, settings: Settings, console: Console) -> AbstractContextManager[Version]:
    return found_version(revision, build=settings.build, announce=lambda line: print_lines([line], console))


def command_between(arguments: Sequence[str], given: tuple[str, str], bounds: tuple[str, str]) -> str:
    """Return a `bisect` command as shell text, with other revisions in place of the given ones.

    Args:
        arguments: The words of the command after `carousel`, which begin with `bisect`.
        given: GOOD and BAD, as among the words.
        bounds: What to put in their place.
    """
    replaced, left = list(arguments), list(zip(given, bounds, strict=True))
    for index, word in enumerate(arguments):
        option = arguments[index - 1]
        is_value = option.startswith("-") and "=" not in option and option not in FLAGS
        if left and index > 0 and word == left[0][0] and not is_value:
            replaced[index] = left.pop(0)[1]
    return shlex.join(["carousel", *replaced])


def _judge(
    commit: str, request: Request, settings: Settings, options: RunOptions, console: Console
) -> tuple[Answer, str]:
    """Measure a commit in turns with the good one, and return the answer and its reason."""
    criterion = parse_fail_on(options.against.fail_on)
    try:
        with _version(commit, settings, console) as version:
            named = replace(version, name=f"commit {commit[:SHORT]}")
            base, new = measure_in_turns(
                request, replace(settings, new=named), console, quiet=options.quiet, is_step=True
            )
        comparison = compare_stored(
            options.store, base.id, new.id, thresholds=criterion.thresholds, allow=options.against.allow
        )
    except UsageError as error:
        return "unknown", str(error)
    if failing := criterion.failing(comparison):
        row = failing[0]
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        return "bad", f"{name_of(row)}: {change_of(row)}{more}"
    return _without_regression(comparison, criterion)


def _without_regression(comparison: Comparison, criterion: FailureCriterion) -> tuple[Answer, str]:
    """Return whether a commit without a regression is good, or cannot be judged by the rows that count.

    The reason is that of `carousel check`.
    """
    absent = [f"{missing_text(each)}: {case_text(each)}" for each in comparison.missing]
    absent += [f"newly failed: {case_text(each)}: {each.reason}" for each in comparison.failed]
    if absent:
        more = f"; {len(absent) - 1} more" if len(absent) > 1 else ""
        return "unknown", f"{absent[0]}{more}"
    judged = criterion.judged(comparison)
    if reasons := reasons_in_words(judged):
        return "unknown", "; ".join(reasons)
    if not judged.rows:
        return "unknown", "the two sides have no result in common that counts"
    return "good", f"{plural(len(judged.rows), 'result')}, none regressed"


def _exit_code(suspects: Suspects | None, steps: Sequence[dict[str, str]]) -> int:
    if suspects is None:
        return NOTHING_SELECTED if steps[0]["answer"] == "good" else FAILED
    return OK if suspects.is_found else FAILED


def _conclusion(good: str, bad: str, found: Sequence[tuple[str, str]], steps: Sequence[dict[str, str]]) -> list[str]:
    """Return the last lines of the output: the commit, or the commits of which it is one, or why there is none."""
    if not found:
        if steps[0]["answer"] == "good":
            return [f"nothing to find: {bad} has not regressed from {good}"]
        return [f"not found: whether {bad} has regressed from {good} cannot be told"]
    listed = [f"  {commit[:SHORT]} {subject}" for commit, subject in found]
    head = "the first bad commit:" if len(found) == 1 else f"one of these {len(found)} commits is the first bad one:"
    return [head, *listed]
