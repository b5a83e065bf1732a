"""Claims: sentences of a paper, each with the quantity that would show it and the rule it is judged by.

A plan brings them in TOML, and a run keeps them, so that a report needs nothing else:

    [[claims]]
    name = "peak"
    text = "test accuracy peaks near 95%"
    source = "the study, Figure 1"
    what = "highest held-out accuracy of all epochs"
    cases = { arch = ["lstm*"], protocol = { weight_decay = 0.0 } }
    quantity = { curve = "validation_score", reduce = "highest" }
    at_least = 0.94
    at_most = 0.96
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from math import inf
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from results.schema.base import Key, Name, Strict, Text
from results.schema.metrics import METRICS

ROUNDING = 1e-9
"""Far less than one of a million tests, and far more than doubles lose in a difference."""

Pattern = Annotated[tuple[Name, ...], Field(min_length=1)]
Setting = bool | int | float | str | None
Series = Literal["fit_loss", "fit_score", "validation_loss", "validation_score", "loss_gap", "score_gap"]
"""`loss_gap` is held-out less fitted loss, `score_gap` fitted less held-out score: both are above 0 in overfitting."""


class Cases(Strict):
    """Which cases are meant: globs over full specifications, each of which takes away where it begins with `!`."""

    arch: Pattern = ("*",)
    task: Pattern = ("*",)
    protocol: dict[Name, Setting] = Field(default_factory=dict)
    """Fields of the protocol, and the values they must have."""

    def names(self, arch: str, task: str) -> bool:
        """Whether both patterns match."""
        return _matches(self.arch, arch) and _matches(self.task, task)


class Quantity(Strict):
    """One number of one case: of a measured metric, of a training curve, or of the model."""

    metric: Name | None = None
    at: dict[Name, int] = Field(default_factory=dict)
    """Where the metric was measured; places left out are averaged over."""
    curve: Series | None = None
    reduce: Literal["last", "highest", "lowest"] = "last"
    from_epoch: Annotated[int, Field(ge=0)] | None = None
    until_epoch: Annotated[int, Field(ge=0)] | None = None
    model: Literal["parameters"] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(source is not None for source in (self.metric, self.curve, self.model)) != 1:
            raise ValueError("a quantity is one of metric, curve and model")
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f"there is no metric {self.metric!r}; there are {', '.join(METRICS)}")
        return self


class Against(Strict):
    """What a quantity is compared with: that of other cases, or another quantity of the same case."""

    cases: Cases | None = None
    quantity: Quantity | None = None
    by: Literal["difference", "ratio"] = "difference"

    @model_validator(mode="after")
    def _is_other(self) -> Self:
        if self.cases is None and self.quantity is None:
            raise ValueError("a comparison needs other cases or another quantity")
        return self


class Claim(Strict):
    """A sentence, where it stands, and how it is judged: by the mean over seeds, between the bounds."""

    name: Key
    text: Text
    source: Text
    what: Text
    """The measured quantity in words."""
    cases: Cases = Cases()
    quantity: Quantity
    against: Against | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a claim needs at_least, at_most or both")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value lies within the bounds, but for rounding: 0.813 - 0.808 is 0.005."""
        return (self.at_least is None or value >= self.at_least - ROUNDING) and (
            self.at_most is None or value <= self.at_most + ROUNDING
        )

    @property
    def exact(self) -> bool:
        """Whether no seed has a part in the value: numbers of parameters, bytes and operations."""
        quantity = self.quantity
        return quantity.model is not None or (quantity.metric is not None and METRICS[quantity.metric].kind == "size")

    @property
    def range(self) -> tuple[float, float]:
        """Between which numbers a value always lies: shares in 0 to 1, R² under 1."""
        quantity = self.quantity
        unit = METRICS[quantity.metric].unit if quantity.metric is not None else ""
        if self.against is not None:
            return -inf, inf
        if quantity.curve in ("fit_score", "validation_score") or unit.startswith("share"):
            return 0.0, 1.0
        return -inf, 1.0 if unit == "R²" else inf

    @property
    def rule(self) -> str:
        """The bounds in words."""
        if self.at_least is None:
            return f"at most {self.at_most:g}"
        if self.at_most is None:
            return f"at least {self.at_least:g}"
        if self.at_least == self.at_most:
            return f"exactly {self.at_least:,.10g}"
        return f"between {self.at_least:g} and {self.at_most:g}"


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(fnmatchcase(text, pattern) for pattern in wanted or ["*"]) and not any(
        fnmatchcase(text, pattern) for pattern in unwanted
    )
