"""`carousel show-arch`: explain an architecture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.commands.output import new_console, print_json
from bench.errors import UsageError
from bench.machine.streams import only_documents_on_standard_output
from reports.format import plural, print_labelled, print_lines, print_table, printable

if TYPE_CHECKING:
    from arch import Description

INDENT = 4
"""Number of spaces before the text of a section."""
UNKNOWN = "unknown"
"""A cost that the architecture does not state."""
NO_EQUATIONS = "none: write them below the first line of the docstring at the top of the file"
"""What stands under the heading of an architecture whose file states no equations."""
GROUPS = {"layer": "options", "block": "options of the block around each layer", "model": "options of the model"}
"""The heading of each group of options."""


def show(spec: str, *, width: int | None, depth: int | None, plugin_files: Sequence[Path], as_json: bool) -> None:
    """Print an architecture's equations, options, block, state, costs, implementation, theory and sources.

    Args:
        spec: The architecture, as a name with options.
        width: Width of the layers whose state and costs are printed; None for a usual one.
        depth: Number of these layers; None for one, or for all parts of a hybrid.
        plugin_files: Plugin files to load first.
        as_json: Whether to print one JSON document instead of text.

    Raises `UsageError` if the spec is wrong, or if a size is impossible.
    """
    with only_documents_on_standard_output(as_json):
        import arch
        from bench.plugins.loader import load
        from bench.plugins.source_files import forgotten_files

        load(plugin_files)
        for option, number in {"--width": width, "--depth": depth}.items():
            if number is not None and number < 1:
                raise UsageError(f"{option} must be at least 1, not {number}")
        try:
            description = arch.describe(arch.get(spec), width=width, depth=depth)
        except ValueError as error:
            raise UsageError(f"{error}{forgotten_files([spec], error)}") from None
        except (MemoryError, RuntimeError) as error:
            if "alloc" not in str(error):
                raise
            raise UsageError(f"{spec} does not fit into memory; give a smaller --width or --depth") from None
    if as_json:
        print_json(document(description))
    else:
        _print(description, new_console())


def document(description: Description) -> dict[str, object]:
    """Return the description as a JSON document."""
    import arch

    family = None if description.family is None else arch.FAMILIES[description.family]
    theory = None if family is None else {"can": list(family.can), "cannot": list(family.cannot)}
    return asdict(description) | {"theory": theory}


def _print(description: Description, console: Console) -> None:
    import arch

    print_labelled(description.spec, f": {description.summary}", console)
    family = None if description.family is None else arch.FAMILIES[description.family]
    if family is not None:
        _section("family", [f"{family.title}. {family.form}"], console)
    _heading("equations", console)
    print_lines(_indented(description.text.splitlines() or [NO_EQUATIONS]), console)
    for group, heading in GROUPS.items():
        _print_options(description, group, heading, console)
    _print_state(description, console)
    _print_costs(description, console)
    _section("implementation", implementation(description), console)
    if family is not None:
        _section("can, in theory", family.can, console)
        _section("cannot, in theory", family.cannot, console)
    if description.note:
        _section("remark", [description.note], console)
    if description.sources:
        _section("sources", ["; ".join(description.sources)], console)


def implementation(description: Description) -> list[str]:
    """Return a sentence each on what runs in training and in streams."""
    return [
        _runs("training", description.training_obstacle),
        _runs("streaming", description.streaming_obstacle),
    ]


def _runs(what: str, obstacle: str | None) -> str:
    return f"{what}: compiled" if obstacle is None else f"{what}: the equations run, because {obstacle}"


def _print_options(description: Description, group: str, heading: str, console: Console) -> None:
    options = [option for option in description.options if option.group == group]
    if not options:
        return
    _heading(heading, console)
    for option in options:
        chosen = "" if option.value == option.default else f"; here {option.value}"
        values = f" = {option.values}  (default: {option.default}{chosen})"
        print_labelled(f"{' ' * INDENT}{option.name}", values, console)
        if option.meaning:
            _paragraph(option.meaning, console, indent=2 * INDENT)


def _print_state(description: Description, console: Console) -> None:
    _heading(f"state of one stream after one step, {_sizes(description)}", console)
    table = _table("part", "shape", "bytes")
    for part in description.state:
        shape = " × ".join(map(str, part.shape)) or "1"
        table.add_row(*_indented([printable(part.name)]), shape, f"{part.bytes:,}")
    if description.state:
        print_table(table, console)
    else:
        print_lines(_indented(["none"]), console)


def _print_costs(description: Description, console: Console) -> None:
    _heading(f"cost of one step of one stream, {_sizes(description)}: {description.parameters:,} parameters", console)
    table = _table("after", "bytes of state", "FLOPs", "bytes moved")
    for costs in description.costs:
        numbers = (costs.state_bytes, costs.step_flops, costs.step_bytes)
        position = _indented([plural(costs.position, "step")])
        table.add_row(*position, *(UNKNOWN if number is None else f"{number:,}" for number in numbers))
    print_table(table, console)


def _sizes(description: Description) -> str:
    return f"{plural(description.depth, 'layer')} of width {description.width}"


def _table(*columns: str) -> Table:
    """Return a table whose first column is indented, and whose other columns are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    first, *others = columns
    table.add_column(*_indented([first]))
    for column in others:
        table.add_column(column, justify="right")
    return table


def _section(heading: str, sentences: Iterable[str], console: Console) -> None:
    _heading(heading, console)
    texts = list(sentences)
    for text in texts:
        _paragraph(text, console, bullet="- " if len(texts) > 1 else "")


def _paragraph(text: str, console: Console, *, indent: int = INDENT, bullet: str = "") -> None:
    """Print a text in lines that fit the console, each indented by so many spaces."""
    first = " " * indent + bullet
    lines = textwrap.wrap(
        text, max(console.width, 2 * indent), initial_indent=first, subsequent_indent=" " * len(first)
    )
    print_lines(lines, console)


def _heading(heading: str, console: Console) -> None:
    print_lines([""], console)
    print_lines([heading], console, style="bold")


def _indented(lines: Iterable[str]) -> list[str]:
    return [" " * INDENT + line if line else "" for line in lines]
