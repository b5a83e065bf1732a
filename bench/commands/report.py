"""`carousel show`, `carousel report` and `carousel gates`: print and draw stored runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import reports
from bench.commands.find_case import find_case, find_cases, named_cases
from bench.commands.output import (
    format_by_ending,
    new_console,
    print_json,
    print_lines,
    print_long_json,
    require_folder,
    run_document,
)
from bench.commands.quantities import NO_LIMITS, LimitOptions, parse_width
from bench.commands.stored_run import StoredRun, find_two, load_run, read_run, read_traces
from bench.errors import UsageError
from bench.plans.plan import load
from results import Record, Run, RunFile, Store, StoreError, load_traces

USUAL_STORE = Path("carousel-runs")
PAGE = "report.html"
PAGE_FORMATS = {".html": "page", ".htm": "page"}
"""The endings of a page."""
TRACED = "carousel run quick -a lstm -t first_last -L 30 --seeds 1 --measure accuracy,gates"
"""A command whose run has traces after some ten seconds of processor time."""
HOW_TO_TRACE = f"to get traces within seconds, run `{TRACED}`, then `carousel gates`"
UNITS = re.compile(r"(?P<first>[0-9]{1,4})(?:-(?P<last>[0-9]{1,4}))?", re.ASCII)
MAX_UNIT = 9999
MAX_RUNS = 2
"""Maximum number of runs in one report: a baseline and a run."""
Form = Literal["svg", "pdf", "png"]
FIGURE_FORMS: dict[str, Form] = {".svg": "svg", ".pdf": "pdf", ".png": "png"}
"""The format of a figure by the ending of its file."""
FILE_ENDINGS = (*FIGURE_FORMS, ".eps", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp")
"""Endings of images. A folder that ends in one of them is probably meant as a file."""


def show_run(
    store: Path,
    name: str,
    format: str,
    limits: LimitOptions = NO_LIMITS,
    *,
    aggregate: bool = False,
    table: reports.PaperTable | None = None,
) -> None:
    """Print the leaderboard of a stored run as `table`, `markdown`, `csv` or `latex`, or the whole run as `json`.

    Args:
        store: Folder of runs.
        name: The run: an id, a unique prefix, `latest`, or a path.
        format: The format.
        limits: Limits to answer to instead of recommending an architecture; only with the format `table`.
        aggregate: Whether to print aggregates over tasks and seeds instead of the leaderboard.
        table: The content of a table for a paper instead of the leaderboard; only with the format `latex`.

    Raises `UsageError` for limits or `table` with another format or with `aggregate`, for an invalid limit, for a long
    JSON document on a terminal, and if the run lacks the values of `table` or of aggregates.
    """
    needs = limits.needs()
    if needs.limits() and aggregate:
        given = next(iter(limits.as_given().values())).split()[0]
        raise UsageError(f"--aggregate and {given} exclude each other: omit one of them")
    if needs.limits() and format != "table":
        given = next(iter(limits.as_given().values())).split()[0]
        raise UsageError(f"{given} needs the format table, not {format}: omit --format or {given}")
    if table is not None and aggregate:
        raise UsageError(f"--aggregate and --table {table} exclude each other: omit one of them")
    if table is not None and format != "latex":
        raise UsageError(f"--table {table} needs --format latex, not --format {format}")
    loaded = load_run(Store(store).find(name))
    file, records = loaded.file, loaded.records
    if aggregate or table is not None:
        try:
            _print_summary(file, records, format, table)
        except reports.NothingToShow as error:
            raise UsageError(str(error)) from None
    elif format == "table":
        reports.render_terminal(
            file, records, unusable=loaded.unusable, needs=needs, options=limits.as_given() if needs.limits() else None
        )
    elif format == "json":
        document = run_document(file, records, loaded.unusable)
        print_long_json(document, command=f"carousel show {name} --format json")
    else:
        write = {"markdown": reports.as_markdown, "csv": reports.as_csv, "latex": reports.as_latex}[format]
        print(write(file, records), end="")


def _print_summary(file: RunFile, records: Sequence[Record], format: str, table: reports.PaperTable | None) -> None:
    """Print a table for a paper, or aggregates if `table` is None."""
    if table is not None:
        print(reports.paper_table(file, records, table), end="")
    elif format == "table":
        reports.render_aggregates(file, records)
    elif format == "json":
        print_json(reports.aggregates_document(file, records))
    else:
        print(reports.aggregates_as(format, file, records), end="")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureFiles:
    """The options on figure files, as the user gave them."""

    folder: Path | None = None
    format: Form | None = None
    width: str | None = None
    """A width, such as `3.25in`."""
    scale: reports.Scale | None = None
    """The scale of text and lines; None for that of a page."""
    only: Sequence[str] = ()
    """Names of figures or patterns of names, each with or without the ending of its file."""

    def options(self) -> reports.FigureOptions:
        """Return the options with their defaults.

        Raises `UsageError` if an option is invalid, if endings and format contradict each other, and if an option is
        given without a folder.
        """
        given = {"--format": self.format, "--width": self.width, "--scale": self.scale, "--only": self.only}
        if self.folder is None:
            for option, value in given.items():
                if value:
                    raise UsageError(f"{option} is for figure files: give their folder with --figures DIR")
            return reports.FigureOptions()
        if self.width is not None and self.scale == "slide":
            raise UsageError("--width and --scale slide exclude each other: choose a column of a paper or a slide")
        self._require_folder(self.folder)
        forms = {name: format_by_ending(Path(name), FIGURE_FORMS, option="--only") for name in self.only}
        chosen = {form: name for name, form in forms.items() if form is not None}
        if self.format is not None:
            chosen[self.format] = f"--format {self.format}"
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen.values())} name different formats; choose one format")
        return reports.FigureOptions(
            form=next(iter(chosen), "svg"),
            width=None if self.width is None else parse_width("--width", self.width),
            scale=self.scale or "page",
            only=tuple(name if form is None else Path(name).stem for name, form in forms.items()),
        )

    def _require_folder(self, folder: Path) -> None:
        require_folder(folder, "--figures")
        ending = folder.suffix.lower()
        if ending in FILE_ENDINGS and not folder.is_dir():
            known = ", ".join(FIGURE_FORMS.values())
            raise UsageError(
                f"--figures takes a folder, not the file {folder}; choose a folder, and --format ({known})"
            )


NO_FIGURES = FigureFiles()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """What a report wrote and what it answers."""

    paths: list[Path]
    """The paths of all files written."""
    answer: list[str]
    """Sentences on the limits; empty without limits."""


def report_runs(
    store: Path,
    names: Sequence[str],
    output: Path | None,
    figures: FigureFiles = NO_FIGURES,
    claims_of: str | None = None,
    limits: LimitOptions = NO_LIMITS,
) -> WrittenReport:
    """Write the report of a run, and answer to the limits.

    Args:
        store: Folder of runs.
        names: A run, or a baseline and a run.
        output: Path of the page; `-` is standard output; None writes the page into the run.
        figures: The folder for the figures of the run, without those of the baseline section, and how to write them.
        claims_of: Plan whose claims are judged; None judges the claims stored with the run.
        limits: Limits on what an architecture may cost. The page and the result answer to them.

    Raises `UsageError` for more than `MAX_RUNS` names, for the same run twice, for a plan without claims, and if a file
    has an unknown ending or cannot be written. Raises `UsageError` if a limit or an option on figures is invalid.
    """
    format_by_ending(output, PAGE_FORMATS)
    needs, figure_options = limits.needs(), figures.options()
    if len(names) > MAX_RUNS:
        raise UsageError(f"a report takes one run or two, not {len(names)}: give a baseline and a run")
    *before, name = names
    base, run = find_two(store, before[0], name) if before else (None, Store(store).find(name))
    loaded = load_run(run)
    file, records = loaded.file, loaded.records
    if claims_of is not None:
        claims = load(claims_of).claims
        if not claims:
            raise UsageError(f"the plan {claims_of} has no claims; name another plan or omit --claims")
        file = file.model_copy(update={"claims": claims})
    baseline = None
    if base is not None:
        old = load_run(base)
        baseline = reports.Baseline(run=old.file, records=old.records, unusable=old.unusable)
    page = output or run.folder / (f"against-{baseline.run.id}.html" if baseline else PAGE)
    drawn: list[Path] = []
    if figures.folder is not None:  # first, because a mistake in the choice of figures becomes known only here
        try:
            drawn = reports.write_figures(
                file, records, figures.folder, read_traces(run, file, records), figure_options
            )
        except reports.UnknownFigure as error:
            raise UsageError(f"--only: {error}") from None
        except OSError as error:
            raise _cannot_write_into(figures.folder, error, "--figures") from None
    written = write_page(run, replace(loaded, file=file), page, baseline, needs)
    return WrittenReport(paths=[written, *drawn], answer=reports.answer_needs(file, records, needs, limits.as_given()))


def write_page(
    run: Run,
    loaded: StoredRun,
    page: Path,
    baseline: reports.Baseline | None = None,
    needs: reports.Needs | None = None,
) -> Path:
    """Write the report of a run and return its path. Raises `UsageError` if the page cannot be written.

    Args:
        run: The stored run, from which traces are read.
        loaded: What was read of the run. The claims in its `run.json` are judged.
        page: Path of the page.
        baseline: Run to compare with, or None.
        needs: Limits that the page answers to, or None.
    """
    file, records = loaded.file, loaded.records
    try:
        traces = read_traces(run, file, records)
        return reports.write_page(file, records, page, traces, baseline, loaded.unusable, needs)
    except OSError as error:
        raise UsageError(
            f"cannot write {page}: {error.strerror}; choose another file with `carousel report -o FILE`"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesOptions:
    """What `carousel gates` draws of a case, as given on the command line."""

    layer: int | None = None
    units: str | None = None
    """Numbers and ranges of units, such as `1-4,9`; None for the first units."""
    sequence: int = 1
    scale: reports.Scale = "page"

    def words(self) -> list[str]:
        """Return the options as words of a command line, without those that have their usual values."""
        given = {
            "--layer": self.layer,
            "--units": self.units,
            "--sequence": None if self.sequence == 1 else self.sequence,
            "--scale": None if self.scale == "page" else self.scale,
        }
        return [word for option, value in given.items() if value is not None for word in (option, str(value))]

    def view(self) -> reports.GatesView:
        """Return the layer, the sequence and the units to draw. Raises `UsageError` if `units` is invalid."""
        return reports.GatesView(layer=self.layer, sequence=self.sequence, units=_units(self.units))


def draw_gates(
    store: Path, name: str, case: str | None, output: Path | None, options: GatesOptions | None = None
) -> list[Path]:
    """Draw the figures of one case as SVG and PNG and return their paths.

    A case without traces has a learning curve only; a note on standard error says how to get traces.

    Args:
        store: Folder of runs.
        name: The run: an id, a unique prefix, `latest`, or a path.
        case: Name, key or part of the key of the case; None draws the first case with traces.
        output: Folder for the figures; None writes into the run.
        options: The layer, the units, the sequence and the scale; None for the usual ones.

    Raises `UsageError` if the case is unknown, is ambiguous or has nothing to draw. Raises `UsageError` if the traces
    lack what `options` asks for, and if a figure cannot be written.
    """
    require_folder(output, "-o")
    options = options or GatesOptions()
    view = options.view()
    run = Store(store).find(name)
    file, records = read_run(run)

    def command(digest: str) -> str:
        folders = {"-o": output, "--store": None if store == USUAL_STORE else store}
        words = [word for option, folder in folders.items() if folder is not None for word in (option, str(folder))]
        return shlex.join(["carousel", "gates", name, digest, *options.words(), *words])

    record = _first_with_traces(records) if case is None else find_case(named_cases(file, records), case, command)
    traces = load_traces(run, record)
    if traces is None and view != reports.GatesView():
        raise UsageError(f"{record.key} has no traces, so it has no layers, units or sequences; {HOW_TO_TRACE}")
    try:
        drawings = reports.case_figures(file, records, record.key, traces, view, options.scale)
    except reports.ViewError as error:
        raise UsageError(str(error)) from None
    if not drawings:
        raise UsageError(f"{record.key} has no curves or traces to draw; {HOW_TO_TRACE}")
    if traces is None:
        print_lines([f"{record.key} has no traces, so no gates are drawn; {HOW_TO_TRACE}"], new_console(stderr=True))
    folder = output or run.folder / "figures" / record.key
    try:
        return reports.write_case_figures(drawings, folder)
    except OSError as error:
        raise _cannot_write_into(folder, error, "-o") from None


def list_cases(store: Path, name: str, case: str | None) -> list[str]:
    """Return one line per case that matches `case`: digest, name, and what `carousel gates` can draw of it.

    If `case` is None, every case matches. Raises `UsageError` if no case matches.
    """
    run = Store(store).find(name)
    cases = named_cases(*read_run(run))
    matching = cases if case is None else find_cases(cases, case)
    return [f"{named.digest}  {named.title}: {_drawable(run, named.record)}" for named in matching]


def _drawable(run: Run, record: Record) -> str:
    try:
        drawn = reports.drawable(record, load_traces(run, record))
    except StoreError:
        drawn = [*reports.drawable(record, None), "unreadable traces"]
    return ", ".join(drawn) or "nothing to draw"


def _units(text: str | None) -> tuple[int, ...]:
    """Return the units of a text such as `1-4,9`, in order and without repetitions. Raises `UsageError`."""
    units: dict[int, None] = {}
    for part in [] if text is None else text.split(","):
        match = UNITS.fullmatch(part.strip())
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if not 1 <= first <= last <= MAX_UNIT:
            raise UsageError(f"--units: {part!r} is no unit or range of units; give numbers from 1, such as 1-4,9")
        units |= dict.fromkeys(range(first, last + 1))
    return tuple(units)


def _first_with_traces(records: Sequence[Record]) -> Record:
    for record in records:
        if "traces" in record.artifacts:
            return record
    raise UsageError(
        f"no case of this run has traces; {HOW_TO_TRACE}; for the learning curve of a case, name it: "
        "`carousel gates RUN CASE`"
    )


def _cannot_write_into(folder: Path, error: OSError, option: str) -> UsageError:
    return UsageError(f"cannot write into {folder}: {error.strerror}; choose another folder with {option}")
