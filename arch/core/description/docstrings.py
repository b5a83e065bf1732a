"""Parts of docstrings: the text after the first line, the meaning of each option, and the cited papers."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping

SURNAME = (
    r"(?!(?:After|Before|By|From|In|Since|Until)\b)(?:(?:van|von|de|der|den|di|la|le) )*[A-ZÀ-Þ][\w’'-]+(?: Team)?"
)
CITATION = re.compile(
    rf"(?<![\w-])((?:{SURNAME}, )*{SURNAME}(?:,? (?:&|and) {SURNAME}| et al\.)?),? \(?((?:19|20)\d\d[a-z]?)\b(?!-)",
)
"""A pattern for citations such as `Elman 1990`, `Le, Jaitly & Hinton 2015` and `Cho et al. (2014)`."""


def split_summary(docstring: str | None) -> tuple[str, str]:
    """Return the first line of a docstring, and the text below it without blank lines at its ends."""
    summary, _, body = inspect.cleandoc(docstring or "").partition("\n")
    return summary, body.strip("\n")


def arguments(docstring: str | None) -> dict[str, str]:
    """Return the description of each argument in the `Args` section of a docstring, as one line each.

    >>> arguments("A layer.\\n\\nArgs:\\n    rate, decay: A number\\n        per step.\\n    bias: Whether to add one.")
    {'rate': 'A number per step.', 'decay': 'A number per step.', 'bias': 'Whether to add one.'}
    """
    _, _, rest = inspect.cleandoc(docstring or "").partition("\nArgs:\n")
    section = re.match(r"(?: .*\n|\n(?= ))*(?: .*)?", rest)
    text = textwrap.dedent(section[0]) if section else ""
    described: dict[str, str] = {}
    for names, words in re.findall(r"^(\w[\w, ]*): +(.+(?:\n +.+)*)", text, re.MULTILINE):
        described |= dict.fromkeys((name.strip() for name in names.split(",")), " ".join(words.split()))
    return described


def attribute_texts(cls: type) -> Mapping[str, str]:
    """Return the docstring below each annotated attribute in the body of a class, as one line each."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for attribute, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            texts[attribute.target.id] = " ".join(str(below.value.value).split())
    return texts


def citations(*texts: str | None) -> tuple[str, ...]:
    """Return the papers that texts cite, as authors and year, each once and in order.

    >>> citations("Cho et al. (2014), after Hochreiter & Schmidhuber 1997; see also Cho et al. 2014.")
    ('Cho et al. 2014', 'Hochreiter & Schmidhuber 1997')
    """
    text = " ".join(" ".join((each or "").split()) for each in texts)
    return tuple(dict.fromkeys(f"{authors} {year}" for authors, year in CITATION.findall(text)))
