"""The scale of figures: that of a page, or that of a slide, where text and lines are larger beside the panels.

Text has the same size in points at both scales. A figure for a slide has fewer inches, so that it is enlarged more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Scale = Literal["page", "slide"]
SLIDE_HEIGHT = 9 / 16
"""The height of a slide in relation to its width."""
SLIDE_INCHES = (6.67, 6.67 * SLIDE_HEIGHT)
"""The width and the height of a slide. The heading and the caption of a figure take a part of it."""
DOTS_PER_INCH: dict[Scale, int] = {"page": 160, "slide": 288}
"""The resolution of PNG files. A slide is 1,920 pixels wide."""

_scale: ContextVar[Scale] = ContextVar("scale", default="page")


@contextmanager
def drawn_at(scale: Scale) -> Iterator[None]:
    """Draw figures at this scale within a `with` block."""
    token = _scale.set(scale)
    try:
        yield
    finally:
        _scale.reset(token)


def current_scale() -> Scale:
    """Return the scale at which figures are drawn at present."""
    return _scale.get()


def figure_inches(width: float, height: float) -> tuple[float, float]:
    """Return the size of a figure in inches: that of a slide, or the given `width` and `height`."""
    return SLIDE_INCHES if _scale.get() == "slide" else (width, height)
