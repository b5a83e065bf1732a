"""The options `--allow` and `--rename` of `carousel check`, `compare` and `history`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import UsageError
from results.comparison import ALLOWABLE

RENAME_EXAMPLES = "OLD=NEW, such as leaky=leaky_integrator or lstm:forget=coupled=cifg"


def parse_allow(text: str | None, fields: Sequence[str] = ALLOWABLE) -> frozenset[str]:
    """Parse a comma-separated list of `fields`, in which `-` stands for a space. If `text` is None, return no field.

    Raises `UsageError` for an unknown field.
    """
    if text is None:
        return frozenset()
    known = {_plain(field): field for field in fields}
    for name in map(str.strip, text.split(",")):
        if _plain(name) not in known:
            choices = ", ".join(field.replace(" ", "-") for field in fields)
            raise UsageError(f"--allow: unknown field {name!r}; choose from {choices}")
    return frozenset(known[_plain(name)] for name in map(str.strip, text.split(",")))


def parse_renames(texts: Sequence[str]) -> dict[str, str]:
    """Return new names by old names. Each text is `OLD=NEW`, of names or of specs with options.

    Raises `UsageError` if a text has no such form, or if an old name has two new ones.
    """
    names: dict[str, str] = {}
    for text in texts:
        ends = [index for index, sign in enumerate(text) if sign == "="]
        found = [(text[:end].strip(), text[end + 1 :].strip()) for end in ends]
        valid = [(old, new) for old, new in found if _is_spec(old) and _is_spec(new)]
        if len(valid) != 1:
            raise UsageError(f"--rename takes {RENAME_EXAMPLES}, not {text!r}")
        ((old, new),) = valid
        if names.setdefault(old, new) != new:
            raise UsageError(f"--rename gives {old!r} two new names, {names[old]!r} and {new!r}; give one")
    return names


def _plain(name: str) -> str:
    return name.replace("-", " ").replace("_", " ")


def _is_spec(text: str) -> bool:
    """Return whether a text is a name, or a name with options that have one value each."""
    name, colon, options = text.partition(":")
    items = options.split(",") if colon else []
    return bool(name) and "=" not in name and all(item.count("=") == 1 and item.strip("=") for item in items)
