"""CSV text, in which every kind of value has one spelling.

- Texts are quoted, and escaped as `escape_cell` does.
- Truth values are `True` and `False`, quoted too, because some readers take everything without quotes for a number.
- Numbers are unrounded. Counts, bytes and FLOPs are whole numbers without a decimal point.
- A value that is unknown or undefined is an empty text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reports.format.escape import escape_cell
from results.specs import value_text

if TYPE_CHECKING:
    import pandas


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a head and rows as CSV. The values are texts, numbers, truth values and None."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(names)
    writer.writerows(map(_cell, row) for row in rows)
    return out.getvalue()


def frame_as_csv(table: pandas.DataFrame) -> str:
    """Return a table as CSV, in the spelling of `csv_text`. The index is left out."""
    cells = {name: table[name].map(_cell) for name in table.columns if table[name].dtype.kind not in "iuf"}
    out = io.StringIO()
    table.assign(**cells).to_csv(out, index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return out.getvalue()


def _cell(value: object) -> object:
    return value_text(value) if isinstance(value, bool) else escape_cell(value)
