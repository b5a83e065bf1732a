"""chaotic_series: what is the value of a chaotic series some steps ahead?

    mackey_glass   x' = 0.2·x(t-17) / (1 + x(t-17)^10) - 0.1·x(t)                (1)
    lorenz         x' = 10·(y - x),  y' = x·(28 - z) - y,  z' = x·y - 8/3·z      (2)

Equation (1) is solved by Euler steps of 1 (Mackey & Glass 1977), equation (2) by Euler steps of 0.01 (Lorenz 1963).
So each series is an exact map of its past. Only x is shown. The next value of (1) needs the value 17 steps before.
In (2), y and z must be inferred from at least three successive values of x. The answer at each step is x after
`horizon` more steps. Jaeger & Haas 2004 and Voelker, Kajić & Eliasmith 2019 forecast (1), the latter by 15 steps.

Values are scaled to [0, 1]: x / 1.5 for (1), x / 50 + 1/2 for (2). An answer is correct if its error is at most 0.04.
The mean squared error is recorded too. Series start at random and run for a while before the first step, so every
step has the same distribution. Chance, the memoryless baseline and the strategies have no closed form: they are
measured on one fixed simulation of 2,000 series, with a standard error below 0.002.

>>> import tasks
>>> batch = tasks.build("chaotic_series:horizon=5").sample(tasks.generator(0, "train"), batch=1, length=40)
>>> bool((batch.inputs[0, 25:, 0] == batch.targets[0, 20:35, 0]).all())
True
"""

# Shape suffixes: B batch, T time, L past values, S series and N steps of the simulation

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import REAL_TOLERANCE, Batch, Reals, Split, Strategy, Task, standard_defaults

System = Literal["mackey_glass", "lorenz"]
Values = TypeVar("Values", Tensor, npt.NDArray[np.float64])
DELAY = 17
"""Delay of equation (1) in steps, which is also the first scored step, counted from 0."""
LORENZ_STEP = 0.01
SCALE = {"mackey_glass": (1.5, 0.0), "lorenz": (50.0, -25.0)}
"""Range of the values in the units of the equations, and their lower end."""
SETTLING_STEPS, SPREAD_STEPS = {"mackey_glass": 500, "lorenz": 2000}, 500
"""Least number of steps before the first one that is shown, and range of the random number that is added to it.

The series forgets its start, and the phases of its oscillations are spread evenly."""
MIN_X = 1.0
"""Smallest |x| of equation (2) at which z is well determined by float32 values of x."""
SIMULATED_SERIES, SIMULATED_STEPS, SIMULATION_SEED = 2_000, 300, 1977
STANDARD_ERROR = 0.002
CELLS, ANSWERS = 64, 400
"""Numbers of equal parts of [0, 1] for the present value, and of constant answers to choose from."""


@dataclass(frozen=True, kw_only=True)
class ChaoticSeries(Task):
    """Forecast a chaotic series `horizon` steps ahead; scored at every step after the first 17, one real number.

    `system`   the equations: `mackey_glass` or `lorenz`.
    `horizon`  number of steps between the present and the forecast value.
    """

    source: ClassVar[str] = "Mackey & Glass 1977; Lorenz 1963; Jaeger & Haas 2004; Voelker, Kajić & Eliasmith 2019"

    system: System = "mackey_glass"
    horizon: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.horizon <= 100:
            raise ValueError(f"horizon must be from 1 to 100, not {self.horizon}")

    @property
    def inputs(self) -> Reals:
        return Reals(1)

    @property
    def targets(self) -> Reals:
        return Reals(1)

    @property
    def min_length(self) -> int:
        return DELAY + 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        series_BT = _series(self.system, generator, batch, length + self.horizon)[..., None].float()
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, DELAY:] = True
        targets_BTD = series_BT[:, self.horizon :].contiguous()
        return Batch(inputs=series_BT[:, :length].contiguous(), targets=targets_BTD, mask=mask_BT)

    def chance(self, length: int) -> float:
        return _reference(self.system, self.horizon)["chance"]

    def memoryless_score(self, length: int) -> float | None:
        return _reference(self.system, self.horizon)["memoryless"]

    def constant_loss(self, length: int) -> float:
        return _reference(self.system, self.horizon)["variance"]

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the linear forecast. Its score is left out if it does not exceed the memoryless baseline."""
        reference = _reference(self.system, self.horizon)
        linear = Strategy(
            name="a linear forecast",
            description="Forecast by a fixed linear combination of the last 18 values.",
            score=reference["linear"] if reference["linear"] > reference["memoryless"] else None,
            loss=reference["linear loss"],
            error=STANDARD_ERROR,
        )
        return (linear,)

    def collision(self, length: int) -> float:
        return 0.0

    def solve(self, batch: Batch) -> Tensor:
        """Return the series continued from the state that the inputs imply, in the shape of `batch.targets`."""
        width, low = SCALE[self.system]
        x_BT = batch.inputs[..., 0].double() * width + low
        if self.system == "mackey_glass":
            past_BTL = torch.stack([x_BT.roll(back, 1) for back in range(DELAY, -1, -1)], -1)
            for _ in range(self.horizon):
                next_BT = _mackey_glass(past_BTL[..., 0], past_BTL[..., -1])
                past_BTL = torch.cat([past_BTL[..., 1:], next_BT[..., None]], -1)
            answers_BT = past_BTL[..., -1]
        else:
            change_BT = (x_BT[:, 1:] - x_BT[:, :-1]) / LORENZ_STEP
            y_BT = x_BT[:, :-1] + change_BT / 10
            growth_BT = (y_BT[:, 1:] - y_BT[:, :-1]) / LORENZ_STEP
            state = (x_BT[:, :-2], y_BT[:, :-1], 28 - (growth_BT + y_BT[:, :-1]) / x_BT[:, :-2])
            for _ in range(self.horizon + 2):
                state = _lorenz(*state)
            answers_BT = torch.cat([x_BT[:, :2], state[0]], 1)
        return ((answers_BT - low) / width).float()[..., None]

    def solvable(self, batch: Batch) -> Tensor:
        """Return a mask, bool (B, T), of the scored positions, except where x of the Lorenz equations is nearly 0.

        There the values of x are too coarse to tell z.
        """
        if self.system == "mackey_glass":
            return batch.mask
        width, low = SCALE[self.system]
        x_BT = batch.inputs[..., 0].roll(2, 1) * width + low
        return batch.mask & (x_BT.abs() >= MIN_X)


def _mackey_glass(delayed: Values, present: Values) -> Values:
    """Return the next value by equation (1), from the value 17 steps before and the present one."""
    return 0.9 * present + 0.2 * delayed / (1 + delayed**10)


def _lorenz(x: Values, y: Values, z: Values) -> tuple[Values, Values, Values]:
    """Return the next state by equation (2)."""
    return (
        x + LORENZ_STEP * 10 * (y - x),
        y + LORENZ_STEP * (x * (28 - z) - y),
        z + LORENZ_STEP * (x * y - 8 / 3 * z),
    )


def _series(system: System, generator: torch.Generator, batch: int, length: int) -> Tensor:
    """Return series (B, T) in float64, scaled to [0, 1], from random starts that have settled."""
    steps = SETTLING_STEPS[system] + SPREAD_STEPS + length
    random = torch.rand(DELAY + 1, batch, generator=generator, dtype=torch.float64).numpy()
    if system == "mackey_glass":
        values = list(0.5 + 0.8 * random)
        for _ in range(steps):
            values.append(_mackey_glass(values[-DELAY - 1], values[-1]))
    else:
        state = (20 * random[0] - 10, 20 * random[1] - 10, 15 + 20 * random[2])
        values = [state[0]]
        for _ in range(steps):
            state = _lorenz(*state)
            values.append(state[0])
    last_BT = torch.from_numpy(np.stack(values[-SPREAD_STEPS - length :], 1))
    starts_B1 = torch.randint(SPREAD_STEPS + 1, (batch, 1), generator=generator)
    width, low = SCALE[system]
    return (last_BT.gather(1, starts_B1 + torch.arange(length)) - low) / width


@lru_cache
@standard_defaults()
def _reference(system: System, horizon: int) -> dict[str, float]:
    """Return the scores and losses of answers that need no model, on one fixed simulation."""
    generator = torch.Generator().manual_seed(SIMULATION_SEED)
    series_ST = _series(system, generator, SIMULATED_SERIES, DELAY + SIMULATED_STEPS + horizon)
    windows_SNL = series_ST.unfold(1, DELAY + 1, 1)[:, :SIMULATED_STEPS]
    past, future = windows_SNL.flatten(0, 1), series_ST[:, DELAY + horizon :].flatten()
    cell = (past[:, -1] * CELLS).long()
    forecast = _linear_forecast(past, future)
    return {
        "chance": _best_constants(torch.zeros_like(cell), future),
        "memoryless": _best_constants(cell, future),
        "variance": future.var().item(),
        "linear": ((forecast - future).abs() <= REAL_TOLERANCE).double().mean().item(),
        "linear loss": (forecast - future).square().mean().item(),
    }


def _linear_forecast(past: Tensor, future: Tensor) -> Tensor:
    """Return the least-squares forecast of each future value, (N,), from the past values (N, L) and a constant."""
    features = torch.cat([past, torch.ones_like(past[:, :1])], 1)
    weights: Tensor = torch.linalg.solve(features.T @ features, features.T @ future)
    return features @ weights


def _best_constants(cells: Tensor, targets: Tensor) -> float:
    """Return the share of correct answers if each cell has its best constant answer.

    A target t is in reach of the answers a with |a - t| ≤ tolerance. Counts per cell and target, summed over a window
    of targets, give the number of correct answers for each constant.
    """
    reach = round(REAL_TOLERANCE * ANSWERS)
    place = (targets * ANSWERS).long().clamp(0, ANSWERS - 1)
    counts = torch.bincount(cells * ANSWERS + place, minlength=(int(cells.max()) + 1) * ANSWERS).view(-1, ANSWERS)
    sums = torch.nn.functional.pad(counts, (1, 2 * reach)).cumsum(1)
    return ((sums[:, 2 * reach :] - sums[:, : -2 * reach]).max(1).values.sum() / len(targets)).item()
