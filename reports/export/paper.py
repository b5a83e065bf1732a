"""Tables for a paper, as LaTeX: architectures are rows, tasks and lengths are columns.

A table fits the text of a one-column page at its normal size. If the columns need more width, the table has several
parts below each other. If these need more than a page, there are several tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports.analysis.groups import Group, archs_of, full_names, group_cases
from reports.analysis.leaderboard import LeaderboardRow, leaderboard_of, ranks_by_setting
from reports.analysis.memory_share import Setting
from reports.analysis.noise import noise
from reports.analysis.streaming.step_costs import StepCost, any_compiled, nearest, step_costs
from reports.export.errors import NothingToShow
from reports.export.leaderboard import notes
from reports.export.names import BASELINE, SHORT_BASELINE, latex_names_in_full, latex_note
from reports.export.paper_layout import Block, pages
from reports.format import numbers
from reports.format.escape import latex_breakable, latex_text, to_ascii
from reports.text.budgets import missed_budgets
from reports.text.context import untrained_sentence
from reports.text.timing_quality import single_process_sentence
from results import Record, RunFile

PaperTable = Literal["score", "step", "state"]
DAGGER = r"\rlap{$^\dagger$}"
"""The mark of a score that more training could raise. It takes no width, so that numbers stay aligned."""
STAR = r"\rlap{*}"
"""The mark of an interpreted step."""
LACKS: Mapping[PaperTable, str] = {
    "score": "this run has no scores; measure them with `carousel run PLAN --measure accuracy`",
    "step": "this run has no timed steps; time them with `carousel run PLAN --measure streaming`",
    "state": "this run has no sizes of states; measure them with `carousel run PLAN --measure streaming`",
}
"""What a run lacks if a table would have no values."""
MAX_LETTERS_BELOW = 1_500
"""Longer paragraphs of LaTeX do not stand below the last table but in the text, since they may need several pages."""
MIN_DIGITS = 3
"""The number of significant digits of the smallest step time of a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of a table, and what its caption says about them."""

    by_arch: Mapping[tuple[str, Setting], str]
    """The cells as LaTeX, by architecture and column."""
    references: Mapping[str, Mapping[Setting, str]]
    """The rows below those of the architectures, by name."""
    caption: str
    """Sentences in LaTeX."""
    widest: Mapping[Setting, int]
    """The number of characters of the widest cell of each column, as they are printed."""


def paper_table(run: RunFile, records: Sequence[Record], content: PaperTable) -> str:
    """Return a table of scores, of step times or of state sizes as LaTeX.

    The id of the run is a comment. Failed and missing seeds, and full names, stand below the table. Raises
    `NothingToShow` if the run has no such values.
    """
    groups = group_cases(run, records)
    rows = leaderboard_of(groups)
    cells = {"score": _scores, "step": _steps, "state": _states}[content](groups, rows)
    if all(text == numbers.MISSING for text in cells.by_arch.values()):
        raise NothingToShow(f"no table of {content}s: {LACKS[content]}")
    head = ["% needs \\usepackage{array,booktabs}", f"% run {run.id}, plan {' '.join(run.plan.split())}"]
    settings = list(dict.fromkeys((group.task, group.length) for group in groups))
    label = f"tab:carousel-{content}"
    laid_out = pages(archs_of(groups), settings, cells.widest, references=len(cells.references))
    if not all(block.fits(name) for name in cells.references for page in laid_out for block in page):
        cells = _with_short_baseline(cells)
    below = _below(groups, rows)
    is_short = sum(map(len, below)) <= MAX_LETTERS_BELOW
    tables = []
    for number, page in enumerate(laid_out):
        caption = cells.caption if number == 0 else f"Continuation of Table~\\ref{{{label}}}."
        tables += [
            "\\begin{table}[tbp]",
            "\\centering",
            "\\setlength{\\tabcolsep}{4pt}\\setlength{\\belowcaptionskip}{6pt}",
            f"\\caption{{{caption}}}",
            f"\\label{{{label}{f'-{number + 1}' if number else ''}}}",
            "\n\\par\\medskip\n".join(_tabular(block, cells) for block in page),
            *([*below, "\\end{table}"] if number == len(laid_out) - 1 and is_short else ["\\end{table}"]),
        ]
    tables += [] if is_short else below
    return to_ascii("\n".join([*head, *tables])) + "\n"


def _with_short_baseline(cells: Cells) -> Cells:
    """Return a table with a shorter name of the memoryless baseline, which the caption explains."""
    names = {name: SHORT_BASELINE if name == BASELINE else name for name in cells.references}
    return replace(
        cells,
        references={names[name]: row for name, row in cells.references.items()},
        caption=f"{cells.caption} The row \\emph{{{SHORT_BASELINE}}} is the {BASELINE}.",
    )


def _below(groups: Sequence[Group], rows: Sequence[LeaderboardRow]) -> list[str]:
    """Return the paragraphs below the last part: failed and missing seeds, missed budgets, and names in full."""
    texts = [untrained_sentence(groups), *(f"{note}." for note in notes(rows)), *missed_budgets(groups)]
    remarks = " ".join(latex_breakable(text) for text in texts if text)
    below = [latex_note(remarks).rstrip()] if remarks else []
    names = latex_names_in_full(full_names(groups)).rstrip()
    return [*below, *([names] if names else [])]


def _tabular(block: Block, cells: Cells) -> str:
    """Return one part of a table: some architectures in some columns."""
    heads, rules, column = [], [], 2
    for task, lengths in block.tasks:
        name, last = latex_breakable(task), column + len(lengths) - 1
        box = f"\\parbox[b]{{{block.head_points(task)}pt}}{{\\centering {name}}}" if block.is_boxed(task) else name
        heads.append(f"\\multicolumn{{{len(lengths)}}}{{c}}{{{box}}}")
        rules.append(f"\\cmidrule(lr){{{column}-{last}}}")
        column = last + 1
    names = "l" if block.name_points is None else f">{{\\raggedright\\arraybackslash}}p{{{block.name_points}pt}}"
    body = [
        _line([latex_breakable(arch), *(cells.by_arch[arch, setting] for setting in block.settings)])
        for arch in block.archs
    ]
    references = [
        _line([f"\\emph{{{latex_text(name)}}}", *(of_setting[setting] for setting in block.settings)])
        for name, of_setting in cells.references.items()
    ]
    return "\n".join(
        [
            f"\\begin{{tabular}}{{@{{}}{names}{'r' * len(block.settings)}@{{}}}}",
            "\\toprule",
            _line(["", *heads]),
            " ".join(rules),
            _line(["architecture", *(f"{length:,}" for _, length in block.settings)]),
            "\\midrule",
            *body,
            *(["\\midrule", *references] if references else []),
            "\\bottomrule",
            "\\end{tabular}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _scores(groups: Sequence[Group], rows: Sequence[LeaderboardRow]) -> Cells:
    """Return mean scores with half widths. Scores that are statistically tied with the best are bold, unless all are.

    Ties are those of the scores as trained. The leaderboard never ranks a model that was still learning below another.
    Such a model has a dagger instead, so that a low score is not bold for lack of training.
    """
    by_setting: dict[Setting, list[LeaderboardRow]] = {}
    for row in rows:  # the best of each setting comes first
        by_setting.setdefault((row.task, row.length), []).append(row)
    first = {
        setting: [arch for arch, rank in ranks.items() if rank.first == 1]
        for setting, ranks in ranks_by_setting(groups, as_trained=True).items()
    }
    scored = {setting: [row for row in rivals if row.score is not None] for setting, rivals in by_setting.items()}
    undivided = [setting for setting, archs in first.items() if len(archs) == len(scored[setting])]
    best = {(arch, setting) for setting, archs in first.items() for arch in archs if setting not in undivided}
    cells = {
        (row.arch, setting): _score(row, is_best=(row.arch, setting) in best)
        for setting, rivals in by_setting.items()
        for row in rivals
    }
    references: dict[str, dict[Setting, str]] = {"chance": {}, BASELINE: {}}
    for setting, rivals in by_setting.items():
        references["chance"][setting] = numbers.score(rivals[0].chance, 2)
        references[BASELINE][setting] = numbers.score(rivals[0].memoryless_score, 2)
    known = {name: row for name, row in references.items() if set(row.values()) != {numbers.MISSING}}
    seeds = sorted({row.scored for row in rows if row.scored})
    caption = [
        f"Each entry is the mean score over {_range(seeds)} at the trained length in the head of its column, "
        "$\\pm$ the larger half of its 95\\% interval.",
        "Entries in bold are not significantly worse than any other of their column (Welch's test with Holm's "
        "correction)." * bool(best),
        "In a column without bold entries, no difference is significant by this test." * bool(best and undivided),
        "No difference within a column is significant (Welch's test with Holm's correction), so none is bold."
        * bool(undivided and not best and len(archs_of(groups)) > 1),
        (
            "A dagger marks models that were still learning when their training ended: more of it could raise their "
            f"score{', so one that is not bold may be as good as the best' * bool(best)}."
        )
        * any(row.undecided for row in rows),
        "The interval of a single seed is that of its test set." * (1 in seeds),
        "A dash means that no seed has a score." * any(row.score is None for row in rows),
    ]
    return Cells(
        by_arch=_filled(groups, cells),
        references=known,
        caption=" ".join(filter(None, caption)),
        widest=dict.fromkeys(by_setting, len("0.00 ± 0.00")),
    )


def _score(row: LeaderboardRow, *, is_best: bool) -> str:
    """Return a score as a cell. It is bold if it is one of the best, and has a dagger if it is undecided."""
    if row.score is None:
        return numbers.MISSING
    text = f"{row.score:.2f}"
    if row.score_low is not None and row.score_high is not None:
        text += f" $\\pm$ {max(row.score - row.score_low, row.score_high - row.score):.2f}"
    if is_best:
        text = f"\\textbf{{{text}}}"
    return text + DAGGER * row.undecided


def _steps(groups: Sequence[Group], rows: Sequence[LeaderboardRow]) -> Cells:
    """Return step times in microseconds, at the streamed position closest to the trained length."""
    costs = _costs(groups)
    decimals: dict[Setting, int] = {}
    for (_, setting), cost in costs.items():
        before_point = len(f"{1e6 * cost.p50_seconds:.0f}") if cost.p50_seconds >= 1e-6 else 0
        decimals[setting] = max(decimals.get(setting, 0), MIN_DIGITS - before_point)
    texts = {key: _step(cost, decimals[key[1]]) for key, cost in costs.items()}
    timings = {cost.timing for cost in costs.values()}
    disturbed = noise([record for group in groups for record in group.records])
    how = "inside a compiled loop" if "compiled" in timings else "called from Python"
    caption = [
        f"Each entry is the time of one streamed step in microseconds, {how}, at the position closest to the length in "
        "the head of its column. It is the median over models of the median over steps"
        + (
            ", $\\pm$ the largest distance of a model from it."
            if any(cost.cases > 1 for cost in costs.values())
            else "."
        ),
        "An asterisk marks interpreted steps, which were called from Python." * ("interpreted" in timings),
        _single_processes(costs),
        f"Other work on the machine disturbed {disturbed.share:.0%} of all timings of the run.".replace("%", r"\%")
        * disturbed.is_high,
        "A dash means that no step was timed." * (len(costs) < len(rows)),
    ]
    widest = {setting: 0 for _, setting in costs}
    for (_, setting), text in texts.items():
        widest[setting] = max(widest[setting], len(text.replace("$\\pm$", "±").removesuffix(STAR)))
    return Cells(by_arch=_filled(groups, texts), references={}, caption=" ".join(filter(None, caption)), widest=widest)


def _single_processes(costs: Mapping[tuple[str, Setting], StepCost]) -> str:
    """Return a sentence in LaTeX on the steps that a single process timed; empty if there are none."""
    if all(cost.is_single for cost in costs.values()):
        return (
            "Each entry was timed in a single process, so the table does not show how much timings differ between "
            "processes."
        )
    by_arch: dict[str, list[StepCost]] = {}
    for (arch, _), cost in costs.items():
        by_arch.setdefault(arch, []).append(cost)
    return latex_breakable(single_process_sentence(by_arch))


def _step(cost: StepCost, decimals: int) -> str:
    text = f"{1e6 * cost.p50_seconds:,.{decimals}f}"
    if cost.cases > 1:
        apart = max(cost.p50_highest_seconds - cost.p50_seconds, cost.p50_seconds - cost.p50_lowest_seconds)
        text += f" $\\pm$ {1e6 * apart:,.{decimals}f}"
    return text + STAR * (cost.timing == "interpreted")


def _states(groups: Sequence[Group], rows: Sequence[LeaderboardRow]) -> Cells:
    """Return the sizes of states at the streamed position closest to the trained length. The smallest ones are bold."""
    sizes = {key: cost.state_bytes for key, cost in _costs(groups).items() if cost.state_bytes is not None}
    for row in rows:
        if row.trained_state_bytes is not None:
            sizes.setdefault((row.arch, (row.task, row.length)), row.trained_state_bytes)
    smallest = {setting: min(sizes[key] for key in sizes if key[1] == setting) for _, setting in sizes}
    texts = {key: numbers.size(size) for key, size in sizes.items()}
    cells = {key: f"\\textbf{{{text}}}" if sizes[key] == smallest[key[1]] else text for key, text in texts.items()}
    caption = [
        "Each entry is the size of the state of one stream, at the position closest to the length in the head of its "
        "column. The smallest of a column is bold.",
        "A dash means that the size is unknown." * (len(sizes) < len(rows)),
    ]
    widest = {setting: max(len(text) for key, text in texts.items() if key[1] == setting) for setting in smallest}
    return Cells(by_arch=_filled(groups, cells), references={}, caption=" ".join(filter(None, caption)), widest=widest)


def _costs(groups: Sequence[Group]) -> dict[tuple[str, Setting], StepCost]:
    """Return the step cost at the position closest to the trained length, by architecture and column."""
    beside_compiled = any_compiled(groups)
    costs = {
        (group.arch, (group.task, group.length)): (
            step_costs(group.seeds, beside_compiled=beside_compiled),
            group.length,
        )
        for group in groups
    }
    return {key: nearest(own_costs, length) for key, (own_costs, length) in costs.items() if own_costs}


def _filled(groups: Sequence[Group], cells: Mapping[tuple[str, Setting], str]) -> dict[tuple[str, Setting], str]:
    """Return the cells with a dash for every other pair of an architecture and a column."""
    settings = list(dict.fromkeys((group.task, group.length) for group in groups))
    return {
        (arch, setting): cells.get((arch, setting), numbers.MISSING)
        for arch in archs_of(groups)
        for setting in settings
    }


def _range(seeds: Sequence[int]) -> str:
    """Return a range of numbers of seeds: `3 seeds`, `2 to 3 seeds`."""
    if not seeds:
        return "seeds"
    return numbers.plural(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]} to {numbers.plural(seeds[-1], 'seed')}"
