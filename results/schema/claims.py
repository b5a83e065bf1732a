"""Claims of a paper, each with a measurable quantity and the bounds for its value.

A plan defines claims in TOML, as in this example. A run stores the claims of its plan in `run.json`, so that a report
does not need the plan.

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
from math import inf, isfinite
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from results.schema.base import Key, Name, Strict, Text
from results.schema.metrics import METRICS

ROUNDING = 1e-9
"""Tolerance of bounds. The tolerance is larger than the rounding error of a difference. It is smaller than the share of
one sequence among a million."""

Patterns = Annotated[tuple[Name, ...], Field(min_length=1)]
Setting = bool | int | float | str | None
CurveName = Literal["fit_loss", "fit_score", "validation_loss", "validation_score", "loss_gap", "score_gap"]
"""`loss_gap` is validation - fit loss; `score_gap` is fit - validation score. Overfitting makes both positive."""


class Cases(Strict):
    """A selection of cases by glob patterns for full specs. A pattern that starts with `!` excludes cases."""

    arch: Patterns = ("*",)
    task: Patterns = ("*",)
    depth: Annotated[int, Field(ge=1)] | None = None
    """Required number of layers; None for any number."""
    length: Annotated[int, Field(ge=1)] | None = None
    """Required trained length in time steps; None for any length."""
    protocol: dict[Name, Setting] = Field(default_factory=dict)
    """Required values of protocol fields."""

    def selects(self, arch: str, task: str) -> bool:
        """Return whether the patterns match the specs of an architecture and a task."""
        return _matches(self.arch, arch) and _matches(self.task, task)


class Quantity(Strict):
    """One number per case: a metric, a value of a training curve, whether training succeeded, or a size of the model.

    Exactly one of `metric`, `curve`, `training` and `model` must be set.
    """

    metric: Name | None = None
    at: dict[Name, int] = Field(default_factory=dict)
    """Location of the measurement. The quantity averages over all measurements that match this location. Means over a
    range of lengths match only if the location has `from` or `to`."""
    curve: CurveName | None = None
    reduce: Literal["last", "highest", "lowest"] = "last"
    from_epoch: Annotated[int, Field(ge=0)] | None = None
    until_epoch: Annotated[int, Field(ge=0)] | None = None
    training: Literal["solved"] | None = None
    """1 if a validation reached `solved_at` of the protocol, otherwise 0. Its mean is the share of such seeds."""
    model: Literal["parameters"] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        sources = {name: getattr(self, name) for name in ("metric", "curve", "training", "model")}
        if sum(source is not None for source in sources.values()) != 1:
            given = ", ".join(f"{name}={source!r}" for name, source in sources.items())
            raise ValueError(f"a quantity needs exactly one of metric, curve, training and model; given: {given}")
        if self.metric is not None and self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; choose one of {', '.join(METRICS)}")
        return self


class Against(Strict):
    """What a claim compares its cases with: other cases, another quantity, or another quantity of other cases.

    At least one of `cases` and `quantity` must be set.
    """

    cases: Cases | None = None
    quantity: Quantity | None = None
    by: Literal["difference", "ratio"] = "difference"

    @model_validator(mode="after")
    def _is_other(self) -> Self:
        if self.cases is None and self.quantity is None:
            raise ValueError("a comparison (against) is empty; give cases, quantity or both")
        return self


class Claim(Strict):
    """A claim with its source and bounds.

    The claim holds in a condition if the mean over seeds lies within the bounds. At least one bound must be set, unless
    the values are not comparable.

    A claim may state the published value instead. Its bounds are then `tolerance` below and above this value. The claim
    also holds if the interval of the mean over seeds overlaps the published one, which is `spread` below and above it.
    """

    name: Key
    text: Text
    source: Text
    what: Text
    """Description of the quantity for readers."""
    cases: Cases = Cases()
    quantity: Quantity
    against: Against | None = None
    at_least: float | None = None
    at_most: float | None = None
    published: float | None = None
    """The value that the source reports."""
    spread: Annotated[float, Field(ge=0)] | None = None
    """Half the width of the interval that the source reports around it; None if it reports none."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """Distance of our value from the published one up to which the claim is reproduced."""
    differs: Text = ""
    """How our protocol differs from that of the source, in words; empty if it does not."""
    not_comparable: Text = ""
    """Why no verdict can be given although both values are known, in words; empty if there can be one. The claim then
    has no bounds, and reports show the published value beside ours."""
    tried: Text = ""
    """What was tried to reach the published value, with the results, in words; empty if nothing was."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.at_least is None is self.at_most and self.published is not None and self.tolerance is not None:
            bounds = {"at_least": self.published - self.tolerance, "at_most": self.published + self.tolerance}
            self.__dict__.update(bounds)  # the model is frozen, and this is the end of its construction
        if self.not_comparable:
            if (self.at_least, self.at_most, self.tolerance) != (None, None, None):
                raise ValueError("not_comparable excludes at_least, at_most and tolerance; omit them")
        elif self.at_least is None and self.at_most is None:
            raise ValueError(
                "a claim needs at_least, at_most or both, published with a tolerance, or not_comparable with a reason"
            )
        if self.published is not None and self.tolerance is not None:
            ends = (self.published - self.tolerance, self.published + self.tolerance)
            given = (self.at_least, self.at_most)
            if any(bound is None or abs(bound - end) > ROUNDING for bound, end in zip(given, ends, strict=True)):
                raise ValueError("a tolerance gives both bounds; omit at_least and at_most, or omit tolerance")
        if self.published is None and (self.spread is not None or self.tolerance is not None):
            raise ValueError("spread and tolerance belong to a published value; add published, or omit them")
        return self

    def overlaps(self, low: float, high: float) -> bool:
        """Return whether a finite interval overlaps the published one; False if the source reports none."""
        if self.published is None or self.spread is None or not (isfinite(low) and isfinite(high)):
            return False
        return low <= self.published + self.spread and high >= self.published - self.spread

    def holds(self, value: float) -> bool:
        """Return whether a value lies within the bounds, up to rounding: 0.813 - 0.808 counts as 0.005."""
        return (self.at_least is None or value >= self.at_least - ROUNDING) and (
            self.at_most is None or value <= self.at_most + ROUNDING
        )

    @property
    def exact(self) -> bool:
        """Whether the value does not depend on the seed. Counts of parameters, bytes and operations are exact."""
        quantity = self.quantity
        return quantity.model is not None or (quantity.metric is not None and METRICS[quantity.metric].kind == "size")

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest possible value.

        The range is 0 to 1 for shares, -∞ to 1 for R², and 0 to ∞ for numbers of sequences. All other quantities and
        all comparisons are unbounded.
        """
        quantity = self.quantity
        unit = METRICS[quantity.metric].unit if quantity.metric is not None else ""
        if self.against is not None:
            return -inf, inf
        is_score = quantity.curve in ("fit_score", "validation_score") or unit.startswith("share")
        if is_score or quantity.training is not None:
            return 0.0, 1.0
        if quantity.metric == "sequences_until_solved":
            return 0.0, inf
        return -inf, 1.0 if unit == "R²" else inf

    @property
    def rule(self) -> str:
        """The bounds as text, such as `at least 0.9` or `0.525 ± 0.05, as published`; empty if there are none."""
        if self.not_comparable:
            return ""
        if self.published is not None and self.tolerance is not None:
            return f"{self.published:,.10g} ± {self.tolerance:,.10g}, as published"
        if self.at_least is None:
            return f"at most {self.at_most:,.10g}"
        if self.at_most is None:
            return f"at least {self.at_least:,.10g}"
        if self.at_least == self.at_most:
            return f"exactly {self.at_least:,.10g}"
        return f"between {self.at_least:,.10g} and {self.at_most:,.10g}"


def _matches(patterns: tuple[str, ...], text: str) -> bool:
    included = [pattern for pattern in patterns if not pattern.startswith("!")]
    excluded = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(fnmatchcase(text, pattern) for pattern in included or ["*"]) and not any(
        fnmatchcase(text, pattern) for pattern in excluded
    )
