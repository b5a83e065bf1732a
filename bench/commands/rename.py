"""The option `--rename` of `carousel check`, `compare` and `history`."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import UsageError

EXAMPLES = "OLD=NEW, such as leaky=leaky_integrator or lstm:forget=coupled=cifg"


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
            raise UsageError(f"--rename takes {EXAMPLES}, not {text!r}")
        ((old, new),) = valid
        if names.setdefault(old, new) != new:
            raise UsageError(f"--rename gives {old!r} two new names, {names[old]!r} and {new!r}; give one")
    return names


def _is_spec(text: str) -> bool:
    """Return whether a text is a name, or a name with options that have one value each."""
    name, colon, options = text.partition(":")
    items = options.split(",") if colon else []
    return bool(name) and "=" not in name and all(item.count("=") == 1 and item.strip("=") for item in items)
