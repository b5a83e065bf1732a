"""LSTM: an additive memory cell with gates for writing, forgetting and reading.

The source is Hochreiter & Schmidhuber 1997, with the forget gate of Gers, Schmidhuber & Cummins 2000. The options
`forget` and `peepholes` give variants that Greff et al. 2017 compare. x is the input, h the previous output and c the
previous cell.

    i  = σ(W_i x + U_i h + p_i * c + b_i)      (1)  input gate
    f  = σ(W_f x + U_f h + p_f * c + b_f)      (2)  forget gate with `forget=learned`;
                                                    f = 1 with `none` (as in 1997), f = 1 - i with `coupled`
    g  = tanh(W_g x + U_g h + b_g)             (3)  candidate
    o  = σ(W_o x + U_o h + p_o * c' + b_o)     (4)  output gate; it sees the cell after (5)
    c' = f * c + i * g                         (5)  cell, the constant error carousel
    h' = o * tanh(c')                          (6)  output

    FLOPs per step: 2 G (D + H)                                                          (7)
    numbers moved per step: G (D + H + 1) weights, and those of p; 4 H of state          (8)

W, U and b contain blocks of H rows each, in the order i, f, g, o: G = 4 H rows, or 3 H if f is not learned. Without b
and without a constant bias of a gate, (8) has G (D + H) weights. The peepholes p (Gers & Schmidhuber 2000) are 0 unless
`peepholes` is true. Then p has a row of H numbers per gate, in the order i, f, o.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows, P gates with peepholes

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.initialisation import Initialisation, add_second_bias, bias_groups, initialise
from arch.core.layer import ParameterGroup
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors

Forget = Literal["learned", "none", "coupled"]
"""Where f comes from. Compiled steps get the position in this list."""
OPEN = 100.0
"""Pre-activation of a gate that is 1 in float32 and in float64."""


class LSTMState(NamedTuple):
    """The state of an LSTM layer: the last output h and the cell c, each (B, H)."""

    h_BH: Tensor
    c_BH: Tensor


class LSTM(RecurrentLayer):
    """A long short-term memory layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        forget: Where f comes from. `learned` is a gate of its own, `none` keeps the whole cell, and `coupled` keeps the
            share that is not written.
        forget_bias: Number added to the forget gate's pre-activation (Gers et al. 2000). Jozefowicz et al. 2015 use 1.
            The number is added to the initial b_f if `bias` is true. If `bias` is false, the number stays constant.
        input_bias: Number added to the input gate's pre-activation in the same way. A negative number keeps the gate
            nearly closed at first, so that cells without a forget gate do not sum up noise. This is the remedy of
            Hochreiter & Schmidhuber 1997 for state drift; they start blocks at -1 to -6.
        peepholes: Whether the gates see the cell. Scans with peepholes run the equations; streams run compiled.
        bias: Whether to learn b. `False` omits it.
        init: Initialisation of the weights: `default`, `torch` or `orthogonal` (see `arch.core.initialisation`).
            `torch` trains b as `torch.nn.LSTM` trains its two biases per gate; `default` has one. Peepholes start as
            biases do.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `forget_bias` is given without a learned forget gate.

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).
    """

    family = "nonlinear"

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        forget: Forget = "learned",
        forget_bias: float = 0.0,
        input_bias: float = 0.0,
        peepholes: bool = False,
        bias: bool = True,
        init: Initialisation = "default",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if forget != "learned" and forget_bias != 0:
            raise ValueError(
                f"forget_bias={forget_bias} is the bias of a learned forget gate, but forget={forget}; omit one of them"
            )
        self.width = width
        self.backend = backend
        self.forget = forget
        gates = 4 if forget == "learned" else 3
        self.W_GD = nn.Parameter(torch.empty(gates * width, inputs))
        self.U_GH = nn.Parameter(torch.empty(gates * width, width))
        self.b_G = nn.Parameter(torch.empty(gates * width)) if bias else None
        self.p_PH = nn.Parameter(torch.empty(gates - 1, width)) if peepholes else None
        self.init = init
        initialise(init, self.W_GD, self.U_GH, self.b_G, self.p_PH)
        if init == "torch" and self.b_G is not None:
            add_second_bias(self.b_G, width)
        offset_G = torch.zeros(gates, width)
        offset_G[0] = input_bias
        if forget == "learned":
            offset_G[1] = forget_bias
        if self.b_G is not None:
            self.b_G.data += offset_G.flatten()
        has_offset = self.b_G is None and (forget_bias, input_bias) != (0, 0)
        self.register_buffer("offset_G", offset_G.flatten() if has_offset else None)

    offset_G: Tensor | None

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    @property
    def gate_rows(self) -> int:
        """G, the rows of W, U and b."""
        return (4 if self.forget == "learned" else 3) * self.width

    def parameter_groups(self) -> list[ParameterGroup]:
        return bias_groups(self.init, self.b_G)

    def project_flops(self) -> int:
        return 2 * self.gate_rows * self.W_GD.shape[1]  # (7)

    def update_flops(self) -> int:
        return 2 * self.gate_rows * self.width  # (7)

    def step_bytes(self, position: int) -> int:
        H, D = self.width, self.W_GD.shape[1]
        has_offsets = self.b_G is not None or self.offset_G is not None
        peepholes = 0 if self.p_PH is None else self.p_PH.numel()
        return (self.gate_rows * (D + H + has_offsets) + peepholes + 4 * H) * element_bytes(self)  # (8)

    def init_state(self, batch: int) -> LSTMState:
        return LSTMState(self.empty(batch, self.width), self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G if self.offset_G is None else self.offset_G)

    def activations(self, projected_BG: Tensor, state: LSTMState) -> tuple[Tensor, ...]:
        """Return i, f, g and o of equations (1) to (4), each (B, H)."""
        i, *f, g, o = torch.addmm(projected_BG, state.h_BH, self.U_GH.T).split(self.width, 1)
        p_PH, c_BH = self.p_PH, state.c_BH
        if p_PH is not None:
            i, f = i + p_PH[0] * c_BH, [f[0] + p_PH[1] * c_BH] if f else []
        i_BH, g_BH = i.sigmoid(), g.tanh()  # (1), (3)
        if f:
            f_BH = f[0].sigmoid()  # (2)
        elif self.forget == "coupled":
            f_BH = 1 - i_BH
        else:
            f_BH = torch.ones_like(i_BH)
        if p_PH is not None:
            o = o + p_PH[-1] * (f_BH * c_BH + i_BH * g_BH)  # c' of (5)
        return i_BH, f_BH, g_BH, o.sigmoid()  # (4)

    def update(self, projected_BG: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        i_BH, f_BH, g_BH, o_BH = self.activations(projected_BG, state)  # (1)-(4)
        c_BH = f_BH * state.c_BH + i_BH * g_BH  # (5)
        h_BH = o_BH * c_BH.tanh()  # (6)
        return h_BH, LSTMState(h_BH, c_BH)

    def kernel_obstacle(self, x_BTD: Tensor, state: State | None) -> str | None:
        return None if self.p_PH is None else "the kernel has no peepholes"

    def fuse(self, x_TBD: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        from arch.kernels.training import four_gates, lstm

        b_G = self.b_G if self.offset_G is None else self.offset_G
        b_G = self.empty(self.gate_rows) if b_G is None else b_G
        weights: tuple[Tensor, Tensor, Tensor] = (self.W_GD, b_G, self.U_GH)
        if self.forget != "learned":
            weights = self._with_forget_rows(*weights)
        outputs_TBH, h_BH, c_BH = four_gates.scan(_scan_of_four_gates, lstm.KERNELS, x_TBD, *weights, *state)
        return outputs_TBH, LSTMState(h_BH, c_BH)

    def _with_forget_rows(self, W_GD: Tensor, b_G: Tensor, U_GH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return weights of a learned forget gate that equals f: 1 - σ(a) is σ(-a), and 1 is σ of a large number."""
        sign, opens = (-1, 0.0) if self.forget == "coupled" else (0, OPEN)

        def widened(weight: Tensor, offset: float) -> Tensor:
            i, g, o = weight.split(self.width)
            return torch.cat([i, sign * i + offset, g, o])

        return widened(W_GD, 0.0), widened(b_G, opens), widened(U_GH, 0.0)

    def kernel_weights(self) -> tuple[Weight, ...]:
        H, D, G = self.width, self.inputs, self.gate_rows
        name = "offset_G" if self.offset_G is not None else None if self.b_G is None else "b_G"
        bias = () if name is None else (Weight(self, name, (G,)),)
        return Weight(self, "W_GD", (G, D)), *bias, Weight(self, "U_GH", (G, H))

    def streaming_spec(self) -> StreamingSpec | None:
        width = self.width
        W_GD, *bias_G, U_GH = self.kernel_weights()
        spec = StreamingSpec(
            kind="lstm",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width),
            weights=(W_GD, bias_G[0] if bias_G else None, U_GH),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, LSTMState, batch, width),
        )
        if self.forget == "learned" and self.p_PH is None:
            return spec
        from arch.kernels.streaming.record import LayerStep

        p_PH = None if self.p_PH is None else Weight(self, "p_PH", (self.gate_rows // width - 1, width))
        return replace(
            spec,
            kind="cell",
            sizes=(*spec.sizes, get_args(Forget).index(self.forget)),
            weights=(*spec.weights, p_PH),
            cell=LayerStep(_load_variant_step),
        )

    def gates(self, x_BD: Tensor, state: LSTMState) -> dict[str, Tensor]:
        names = ("input", "forget", "candidate", "output")
        return dict(zip(names, self.activations(self.project(x_BD), state), strict=True))


def _scan_of_four_gates(
    x_TBD: Tensor, W_GD: Tensor, b_G: Tensor, U_GH: Tensor, h_BH: Tensor, c_BH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the kernel returns, in plain torch: outputs (T, B, H), h_T and c_T, each (B, H)."""
    outputs = []
    for projected_BG in functional.linear(x_TBD, W_GD, b_G):
        i, f, g, o = torch.addmm(projected_BG, h_BH, U_GH.T).chunk(4, 1)
        c_BH = f.sigmoid() * c_BH + i.sigmoid() * g.tanh()  # (1)-(3), (5)
        h_BH = o.sigmoid() * c_BH.tanh()  # (4), (6)
        outputs.append(h_BH)
    return torch.stack(outputs), h_BH, c_BH


def _load_variant_step() -> Any:
    from arch.kernels.streaming.lstm_step import variant_step

    return variant_step
