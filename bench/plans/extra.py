"""Additional grids of cases in a plan."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from bench.plans.amounts import BudgetBytes, BudgetCount
from bench.plans.override import DISTINCT, Length, SpecText
from bench.plans.protocol import GivenProtocol
from results import BUDGETS, Strict


class Pair(Strict):
    """A task with its own lengths."""

    task: SpecText
    lengths: Annotated[tuple[Length, ...], Field(min_length=1), DISTINCT]


class Extra(Strict):
    """An additional grid of cases. Omitted fields have the values of the plan's own grid.

    The grid is the product of architectures, tasks and lengths. With `pairs`, each task has its own lengths.
    """

    archs: Annotated[tuple[SpecText, ...], DISTINCT] = ()
    tasks: Annotated[tuple[SpecText, ...], DISTINCT] = ()
    lengths: Annotated[tuple[Length, ...], DISTINCT] = ()
    pairs: tuple[Pair, ...] = ()
    """Tasks with their own lengths, instead of `tasks` and `lengths`."""
    seeds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Number of seeds; None for the plan's number. A larger number is reduced to the plan's number."""
    depth: Annotated[int, Field(ge=1, le=1000)] | None = None
    params: BudgetCount | None = None
    """With the next four fields, another size of the models. At most one of `params`, `width`, `state` and `step_flops`
    is given."""
    params_of: Literal["model", "layers"] | None = None
    width: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    state: BudgetBytes | None = None
    step_flops: BudgetCount | None = None
    protocol: GivenProtocol = Field(default_factory=dict)
    """Fields that differ from the plan's protocol, or `untrained`."""

    @model_validator(mode="after")
    def _has_one_kind_of_grid(self) -> Self:
        if self.pairs and (self.tasks or self.lengths):
            given = " and ".join(field for field in ("tasks", "lengths") if getattr(self, field))
            raise ValueError(f"pairs list tasks with their lengths; omit {given}, or write them as pairs")
        if len(self._given_sizes) > 1:
            raise ValueError(f"{' and '.join(self._given_sizes)} exclude each other; give one of them")
        return self

    @property
    def _given_sizes(self) -> list[str]:
        return [kind for kind in BUDGETS if getattr(self, kind) is not None]

    def sizes(self) -> dict[str, Any]:
        """Return the fields of the size of a model that replace those of the plan."""
        budget = {kind: getattr(self, kind) for kind in BUDGETS} if self._given_sizes else {}
        others = {"depth": self.depth, "params_of": self.params_of}
        return budget | {field: value for field, value in others.items() if value is not None}

    def without_budget(self) -> Extra:
        """Return the grid with models of the size that the plan gives, apart from the depth."""
        return self.model_copy(update=dict.fromkeys((*BUDGETS, "params_of")))

    def products(
        self, tasks: tuple[str, ...], lengths: tuple[int, ...]
    ) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Return the tasks and lengths of each product that the grid consists of.

        The arguments are those of the plan, for a grid that gives none.
        """
        if self.pairs:
            return [((pair.task,), pair.lengths) for pair in self.pairs]
        return [(self.tasks or tasks, self.lengths or lengths)]
