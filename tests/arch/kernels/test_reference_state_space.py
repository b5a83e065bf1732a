"""Compare the kernels of state-space models with their plain references, on the same arguments."""

# Letters: B batch, T time, E or H channels, N states

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from arch.kernels.reference import state_space as plain
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.vector import LANES
from arch.kernels.training.state_space import discretisation, selective_scan, structured_scan
from arch.kernels.training.state_space.selective_parts import AT_ONCE
from arch.kernels.training.state_space.selective_scan import CHUNK
from arch.kernels.training.state_space.states import rounded
from tests.arch.kernels.test_reference import agree, random, selected


class Shape(NamedTuple):
    T: int
    B: int
    E: int
    N: int
    first: int
    last: int


SHAPES = [
    Shape(1, 1, 1, 1, 0, 1),
    Shape(5, 4, 18, 3, 1, 3),
    Shape(CHUNK, 2, 16, 16, 0, 2),
    Shape(2 * CHUNK + 3, 5, 33, 18, 2, 5),
    Shape(2 * structured_scan.CHUNK + 1, 2, 17, 7, 0, 2),
]


@pytest.mark.parametrize(("shape", "negative"), [*((shape, False) for shape in SHAPES), (SHAPES[-1], True)], ids=str)
def test_selective_scan(shape: Shape, negative: bool) -> None:
    T, B, E, N, *share = shape
    draw, chunks = random(2), (T - 1) // CHUNK
    values: dict[str, Any] = {name: draw(B, T, E) for name in ("c", "z", "y", "d_y", "d_c", "d_z")}
    values |= {name: draw(B, N, E) for name in ("h", "h_0", "d_h")}
    values |= {"A": -draw(N, E).exp(), "BC": draw(B, T, 2 * N), "d_BC": draw(B, T, 2 * N), "D": draw(E)}
    R = max(1, E // 2)
    values |= {"low": draw(B, T, R), "d_low": draw(B, T, R), "W": draw(R, E) / R**0.5, "bias": draw(E), "R": R}
    stored = draw(B, chunks, panels_of(E), rounded(N, AT_ONCE), LANES)
    values |= {"stored": stored, "sums": draw(N + R + 2, E), "T": T, "E": E, "N": N}
    values["negative"] = negative
    forward = selected(selective_scan.Forward, values)
    written = "h y stored" if chunks else "h y"
    agree(selective_scan.forward_rows, plain.selective_forward, forward, (share[0], share[1]), written, CHUNK)
    begin = forward._replace(h=values["h_0"].clone())
    plain.selective_forward(begin, 0, B, CHUNK)  # writes the stored states that belong to h_0
    backward = selected(selective_scan.Backward, values | {"stored": begin.stored})
    written = "d_h d_low d_c d_z d_BC sums"
    agree(selective_scan.backward_rows, plain.selective_backward, backward, (share[0], share[1]), written)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_structured_scan(shape: Shape) -> None:
    T, B, H, N, *share = shape
    draw, steps = random(3), structured_scan.CHUNK
    chunks = (T - 1) // steps
    values: dict[str, Any] = {name: draw(B, T, H) for name in ("x", "y", "s", "d_y", "d_x")}
    values |= {name: draw(B, N, H) for name in ("real", "imag", "d_real", "d_imag")}
    values |= {"a": 0.7 * draw(2, N, H).tanh(), "C": draw(2, N, H), "D": draw(H)}
    stored = draw(B, chunks, panels_of(H), rounded(N, 2), 2, LANES)
    values |= {"stored": stored, "sums": draw(4 * N + 1, H), "T": T, "H": H, "N": N}
    forward = selected(structured_scan.Forward, values)
    written = "real imag y s stored" if chunks else "real imag y s"
    agree(structured_scan.forward_rows, plain.structured_forward, forward, (share[0], share[1]), written, steps)
    begin = forward._replace(real=values["real"].clone(), imag=values["imag"].clone())
    plain.structured_forward(begin, 0, B, steps)  # writes s and the stored states that belong to the initial state
    backward = selected(structured_scan.Backward, values | {"stored": begin.stored, "s": begin.s})
    written = "d_real d_imag d_x sums"
    agree(structured_scan.backward_rows, plain.structured_backward, backward, (share[0], share[1]), written)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_discretisation(shape: Shape) -> None:
    """Compare a share of the channels."""
    draw, H, N, share = random(4), shape.E, shape.N, (shape.E // 3, shape.E)
    values: dict[str, Any] = {name: draw(2, N, H) for name in ("C", "a", "c", "d_a", "d_c", "d_C")}
    values |= {name: draw(N, H) for name in ("A_log", "A_imag", "d_A_log", "d_A_imag")}
    values |= {"step_log": draw(H), "d_step_log": draw(H), "H": H, "N": N}
    forward = selected(discretisation.Forward, values)
    agree(discretisation.forward_rows, plain.discretisation_forward, forward, share, "a c")
    backward = selected(discretisation.Backward, values)
    written = "d_step_log d_A_log d_A_imag d_C"
    agree(discretisation.backward_rows, plain.discretisation_backward, backward, share, written)
