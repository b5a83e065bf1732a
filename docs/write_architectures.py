"""Write docs/architectures.md from the docstrings of the architectures. Run this file to update the page."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arch import Description, FamilyText

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "architectures.md"
INTRODUCTION = """\
# The architectures

<!-- Written by docs/write_architectures.py from the docstrings in arch/; edit those, then run it again. -->

Each architecture is one file of numbered equations in `arch/`. Its `step` processes one time step of a stream, and its
`scan` whole sequences. The two agree to 1e-9 in float64.

An architecture's spec is a name with optional options, such as `gru:reset=before`. Every architecture also takes the
options of the block around each layer, `block`, `conv` and `expansion`, and `dropout` between the layers of a model.
`carousel show-arch NAME` prints an entry of this page with the costs of the options that you choose.
[method.md](method.md) describes how models are trained and tested.

*State* is what one stream keeps in one layer of width {width} with its block, in float32: after one step, and after
{far:,} steps.

| architecture | family | description | state | state after {far:,} steps | source |
|---|---|---|---|---|---|
"""
BLOCK = """
## The block around a layer

`block=bare` is the layer itself. `block=residual` adds a norm before the layer, a residual connection and, with
`expansion`, an MLP. `conv=4` puts a causal depthwise convolution over four steps before the layer. The equations are in
`arch/core/block.py`. Each architecture's default is the block of its paper.
"""
THEORY = """
## What theory says

Each family below begins with what its architectures can and cannot represent. The statements are about networks of
fixed size and finite precision on sequences of any length. *Can* means that some weights do it. Whether training finds
them is what the benchmark measures.
"""
OTHERS = "Other architectures"
PLANS = HOME / "bench" / "plans" / "published"
CLAIMS = """
## Published claims

The plans under `published/` repeat published experiments. Some show these limits, others how soon a task is learned.
`carousel run published/NAME` judges each claim below. [published.md](published.md) has our values and verdicts.

| plan | claim | source |
|---|---|---|
"""


def page() -> str:
    """Return the content of docs/architectures.md."""
    import arch

    described = [arch.describe(arch.get(name)) for name in arch.built_in()]
    families = [
        (family.title, _theory(family), [each for each in described if each.family == name])
        for name, family in arch.FAMILIES.items()
    ]
    families.append((OTHERS, "", [each for each in described if each.family is None]))
    rows = "\n".join(_row(each, title) for title, _, members in families for each in members)
    sections = [
        f"\n## {title}\n{theory}{''.join(map(_section, members))}" for title, theory, members in families if members
    ]
    sources = "; ".join(arch.sources_of_theory())
    introduction = INTRODUCTION.format(width=described[0].width, far=described[0].costs[-1].position)
    theory = [THEORY, f"\n{_wrapped(f'Sources: {sources}.')}\n"]
    return "".join([introduction, rows, "\n", BLOCK, *theory, *sections, CLAIMS, _claims(), "\n"])


def _claims() -> str:
    """Return one row of a table per claim of the published plans."""
    rows = (
        f"| `published/{path.stem}` | {_cell(claim['text'])} | {_cell(claim['source'])} |"
        for path in sorted(PLANS.glob("*.toml"))
        for claim in tomllib.loads(path.read_text(encoding="utf-8")).get("claims", [])
    )
    return "\n".join(dict.fromkeys(rows))  # a claim at two lengths has one text


def _row(description: Description, family: str) -> str:
    first, last = description.costs[0], description.costs[-1]
    cells = (
        f"[`{description.name}`](#{description.name})",
        family.lower(),
        _sentence(description.summary),
        f"{first.state_bytes:,} B",
        f"{last.state_bytes:,} B",
        description.sources[0] if description.sources else "—",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _theory(family: FamilyText) -> str:
    can, cannot = ("\n".join(_wrapped(f"- {each}", "  ") for each in texts) for texts in (family.can, family.cannot))
    return f"\n{_wrapped(family.form)}\n\nThey can, in theory:\n\n{can}\n\nThey cannot:\n\n{cannot}\n"


def _section(description: Description) -> str:
    parts = [f"### {description.name}", _sentence(description.summary), _prose(description.text)]
    if description.note:
        parts.append(_wrapped(f"In theory: {description.note}"))
    options = ", ".join(f"{name}={value}" for name, value in description.block.items())
    block = f"`{options}`" if options else "that of each part"
    first, last = description.costs[0], description.costs[-1]
    state = ", ".join(f"`{part.name}` {' × '.join(map(str, part.shape)) or 1}" for part in description.state)
    facts = [
        f"- Default block: {block}",
        f"- State at width {description.width} after one step: {state or 'none'}; {first.state_bytes:,} bytes, and "
        f"{last.state_bytes:,} after {last.position:,} steps",
    ]
    if first.step_flops is not None and last.step_flops is not None:
        later = "" if first.step_flops == last.step_flops else f", and {last.step_flops:,} after {last.position:,}"
        facts.append(
            f"- Cost at this width: {description.parameters:,} parameters; {first.step_flops:,} FLOPs per step{later}"
        )
    if description.sources:
        facts.append(f"- Sources: {'; '.join(description.sources)}")
    parts.append("\n".join(_wrapped(fact, "  ") for fact in facts))
    own = [option for option in description.options if option.group == "layer"]
    if own:
        rows = [
            f"| `{option.name}` | {_code(option.values)} | `{option.default}` | {_cell(option.meaning)} |"
            for option in own
        ]
        parts.append("\n".join(["| option | values | default | meaning |", "|---|---|---|---|", *rows]))
    return "\n" + "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """Return `text` with each indented paragraph fenced as code. Other paragraphs are not changed."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return "\n\n".join(
        f"```text\n{textwrap.dedent(block).rstrip()}\n```" if block.startswith("    ") else block for block in blocks
    )


def _code(values: str) -> str:
    """Return allowed values with each one as code."""
    return " or ".join(", ".join(f"`{word}`" for word in part.split(", ")) for part in values.split(" or "))


def _cell(text: str) -> str:
    return re.sub(r"\|", r"\\|", text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    PAGE.write_text(page(), encoding="utf-8")
