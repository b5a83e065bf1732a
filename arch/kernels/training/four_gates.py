"""What the kernels of `lstm` and `slstm` share: their arguments, and the function for autograd.

Both compute four gates from W x + U h + b, and keep a cell c. An sLSTM keeps a normaliser n and a stabiliser m too. In
an LSTM, both are None.
"""

# Shape suffixes: T time, B batch, D input width, H hidden width, G = 4H gate rows, S saved numbers per step and row

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.runtime.launch import (
    CONTIGUOUS,
    Reference,
    needs_gradients,
    needs_reference,
    of_blocks,
    reference_gradients,
    run_rows,
    sum_rows,
    without_autocast,
)
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.matmul import ROWS, panels_of
from arch.kernels.simd.vector import LANES


class Forward(NamedTuple):
    """Arguments of a forward kernel.

    Args:
        x, W, bias, U: Inputs (T, B, D), W (G, D), b (G,) and U (G, H).
        h_0, c_0, n_0: Initial output, cell and normaliser, (B, H).
        m: Initial stabiliser, (B, H). Receives the last one.
        outputs: Outputs, (T, B, H), written.
        gates: Receives the saved numbers per step and row (T, B, S), blocks of H, if `saves` is true.
        cells, norms: Receive c' and n' of all steps (T, B, H) if `saves` is true, else the last ones (1, B, H).
        saves: Whether to write `gates` and all of `cells` and `norms`.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    bias: Tensor
    U: Tensor
    h_0: Tensor
    c_0: Tensor
    n_0: Tensor | None
    m: Tensor | None
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    norms: Tensor | None
    saves: bool
    T: int
    B: int
    D: int
    H: int


class Backward(NamedTuple):
    """Arguments of a backward kernel.

    Args:
        x, W, U: Inputs (T, B, D), W (G, D) and U (G, H).
        h_0, c_0, n_0: Initial output, cell and normaliser, (B, H).
        outputs, gates, cells, norms: What the forward kernel wrote if `saves` was true.
        d_outputs: Gradient of `outputs`, (T, B, H).
        d_h, d_c, d_n, d_m: Gradients of the last state, (B, H). Receive those of the initial state.
        d_x: Gradient of `x`, (T, B, D), written, or None if it is not needed.
        sums: Sums (D + H + 1, 4 · padded), added to: transposed dW, transposed dU and db. `padded` is H rounded up to
            whole vectors. `sum_rows` sets it for each share.
        T, B, D, H: Steps, batch size, input width, hidden width.
    """

    x: Tensor
    W: Tensor
    U: Tensor
    h_0: Tensor
    c_0: Tensor
    n_0: Tensor | None
    outputs: Tensor
    gates: Tensor
    cells: Tensor
    norms: Tensor | None
    d_outputs: Tensor
    d_h: Tensor
    d_c: Tensor
    d_n: Tensor | None
    d_m: Tensor | None
    d_x: Tensor | None
    sums: Tensor | None
    T: int
    B: int
    D: int
    H: int


class Kernels(NamedTuple):
    """The kernels of one architecture."""

    forward_rows: Callable[..., None]
    """Write the outputs and the saved numbers of some rows of the batch."""
    backward_rows: Callable[..., None]
    """Write the gradients of x and of the initial state, and add those of the weights, for some rows of the batch."""
    saved: int
    """Numbers that the forward kernel saves per unit and step in `gates`."""


class Scan(torch.autograd.Function):
    """The map from x, the weights and the initial state to the outputs (T, B, H) and the last state.

    Its arguments are x (T, B, D), W (G, D), b (G,), U (G, H), then the parts of the initial state, each (B, H): h and
    c, and n and m if there are any. The last state has the same parts.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, kernels: Kernels, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        x_TBD, W_GD, b_G, U_GH, h_BH, c_BH, *others = inputs
        (T, B, D), H, saved = x_TBD.shape, U_GH.shape[1], x_TBD.shape[0] if saves else 0
        n_BH, m_BH = others or (None, None)
        outputs_TBH, gates_TBS = x_TBD.new_empty(T, B, H), x_TBD.new_empty(saved, B, kernels.saved * H)
        cells_TBH = x_TBD.new_empty(max(1, saved), B, H)
        norms_TBH = None if n_BH is None else torch.empty_like(cells_TBH)
        last_m_BH = None if m_BH is None else m_BH.clone(memory_format=CONTIGUOUS)
        arguments = Forward(
            x=x_TBD,
            W=W_GD,
            bias=b_G,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            n_0=n_BH,
            m=last_m_BH,
            outputs=outputs_TBH,
            gates=gates_TBS,
            cells=cells_TBH,
            norms=norms_TBH,
            saves=saves,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        run_rows(kernels.forward_rows, arguments, B, 4 * T * B * H * (D + H) // TILED, ROWS)
        ctx.reference, ctx.kernels = reference, kernels
        ctx.save_for_backward(*inputs, outputs_TBH, gates_TBS, cells_TBH, norms_TBH)
        of_state = (outputs_TBH, cells_TBH) if norms_TBH is None else (outputs_TBH, cells_TBH, norms_TBH)
        last = [part_TBH[-1].clone() for part_TBH in of_state]
        return outputs_TBH, *last, *(() if last_m_BH is None else (last_m_BH,))

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, outputs_TBH, gates_TBS, cells_TBH, norms_TBH = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        x_TBD, W_GD, _, U_GH, h_BH, c_BH, *others = inputs
        (T, B, D), H = x_TBD.shape, U_GH.shape[1]
        of_state = [gradient.clone(memory_format=CONTIGUOUS) for gradient in gradients[1:]]
        d_n_BH, d_m_BH = of_state[2:] or (None, None)
        d_x_TBD = torch.empty_like(x_TBD, memory_format=CONTIGUOUS) if ctx.needs_input_grad[3] else None
        arguments = Backward(
            x=x_TBD,
            W=W_GD,
            U=U_GH,
            h_0=h_BH,
            c_0=c_BH,
            n_0=others[0] if others else None,
            outputs=outputs_TBH,
            gates=gates_TBS,
            cells=cells_TBH,
            norms=norms_TBH,
            d_outputs=gradients[0],
            d_h=of_state[0],
            d_c=of_state[1],
            d_n=d_n_BH,
            d_m=d_m_BH,
            d_x=d_x_TBD,
            sums=None,
            T=T,
            B=B,
            D=D,
            H=H,
        )
        shape, work = (D + H + 1, 4 * panels_of(H) * LANES), 4 * T * B * H * (D + H) // TILED
        sums = sum_rows(ctx.kernels.backward_rows, arguments, B, work, shape)
        d_W_GD, d_U_GH, d_b_G1 = (of_blocks(part, 4, H) for part in sums.split([D, H, 1]))
        return None, None, None, d_x_TBD, d_W_GD, d_b_G1[:, 0], d_U_GH, *of_state


def scan(reference: Reference, kernels: Kernels, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the outputs (T, B, H) and the parts of the last state, each (B, H), by `Scan`.

    Args:
        reference: Function of `inputs` that computes the same results in plain torch. Second derivatives use it.
        kernels: The kernels.
        inputs: x (T, B, D), W (G, D), b (G,), U (G, H), and the parts of the initial state, each (B, H).
    """
    outputs: tuple[Tensor, ...] = Scan.apply(reference, kernels, needs_gradients(*inputs), *inputs)  # type: ignore[no-untyped-call]
    return outputs
