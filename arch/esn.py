"""ESN: an echo state network, a fixed random recurrent network of which only the readout learns.

The source is Jaeger 2001, with the leak of Jaeger et al. 2007. x is the input and h the previous output.

    s  = W x + U h + b             (1)
    h' = h + α (tanh(s) - h)       (2)  α is `leak`

    FLOPs per step: 2 H (J + K)                                                          (3)
    numbers moved per step: H (2 J + 2 K + 1) weights and sources, 1 leak, 2 H of state  (4)

W and U are sparse: each unit reads K = min(`connections`, H) units and J = min(`connections`, D) inputs, drawn without
repetition. W and U are stored as one column per connection of each unit, with a table of the same shape that says what
the connection reads.

W and b are uniform in ± `input_scaling`. U is uniform and then scaled so that its spectral radius, the largest absolute
value of its eigenvalues, is `spectral_radius`. A radius near 1 gives a long memory. The weights are drawn from the
model's seed, saved with the model, and no parameters: they do not learn, and no budget counts them. The embedding of
tokens is fixed too.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, J connections to inputs, K connections to units

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from arch.core.backend import Backend, Weight, outside
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class ESNState(NamedTuple):
    """The state of an echo state network: the last output h (B, H)."""

    h_BH: Tensor


class ESN(RecurrentLayer):
    """A reservoir of leaky units with fixed weights.

    A budget of parameters gives at most `max_budget_width` units: the readout alone has parameters, so a reservoir of
    20,000 parameters would have thousands of units. Choose another width with `width`.

    Args:
        inputs: Input width D.
        width: Number of units H.
        connections: Number of units that each unit reads, and of inputs.
        spectral_radius: Spectral radius of U.
        leak: Share α of the new value in each step, above 0 and at most 1. 1 is the network of 2001.
        input_scaling: Largest weight of an input, and largest bias.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if an option is not positive, or `leak` above 1. `load_state_dict` raises it if a connection
    reads an input or a unit that the layer does not have.

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).
    """

    family = "nonlinear"
    max_budget_width: ClassVar[int | None] = 512
    encoder_learns: ClassVar[bool] = False

    W_HJ: Tensor
    U_HK: Tensor
    b_H: Tensor
    leak_1: Tensor
    W_sources_HJ: Tensor
    U_sources_HK: Tensor

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        connections: int = 10,
        spectral_radius: float = 0.9,
        leak: float = 1.0,
        input_scaling: float = 1.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if connections < 1:
            raise ValueError(f"connections must be at least 1, not {connections}")
        for name, value in {"spectral_radius": spectral_radius, "input_scaling": input_scaling}.items():
            if value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not 0 < leak <= 1:
            raise ValueError(f"leak must be above 0 and at most 1, not {leak}")
        self.input_width, self.width = inputs, width
        self.backend = backend
        J, K = min(connections, inputs), min(connections, width)
        self.register_buffer("W_HJ", _uniform(input_scaling, width, J))
        self.register_buffer("b_H", _uniform(input_scaling, width))
        self.register_buffer("W_sources_HJ", _sources(width, inputs, J))
        self.register_buffer("U_sources_HK", _sources(width, width, K))
        U_HK = _uniform(1.0, width, K)
        if not U_HK.is_meta:  # there are no values to scale then
            U_HK *= spectral_radius / spectral_radius_of(U_HK, self.U_sources_HK)
        self.register_buffer("U_HK", U_HK)
        self.register_buffer("leak_1", torch.full((1,), leak), persistent=False)
        self.register_load_state_dict_pre_hook(_check_sources)  # type: ignore[no-untyped-call]

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.input_width

    def project_flops(self) -> int:
        return 2 * self.W_HJ.numel()  # (3)

    def update_flops(self) -> int:
        return 2 * self.U_HK.numel()  # (3)

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        """Return the FLOPs of the backward pass: one product per product of (1), if the inputs need a gradient."""
        step = self.project_flops() + self.update_flops()
        return batch * length * step if inputs_learn else 0

    def step_bytes(self, position: int) -> int:
        numbers = 2 * (self.W_HJ.numel() + self.U_HK.numel()) + self.width + 1
        return (numbers + 2 * self.width) * element_bytes(self)  # (4)

    def init_state(self, batch: int) -> ESNState:
        return ESNState(self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return _add_products(self.b_H, self.W_HJ, self.W_sources_HJ, x)

    def update(self, projected_BG: Tensor, state: ESNState) -> tuple[Tensor, ESNState]:
        s_BH = _add_products(projected_BG, self.U_HK, self.U_sources_HK, state.h_BH)  # (1)
        h_BH = state.h_BH + self.leak_1 * (s_BH.tanh() - state.h_BH)  # (2)
        return h_BH, ESNState(h_BH)

    def fuse(self, x_TBD: Tensor, state: ESNState) -> tuple[Tensor, ESNState]:
        from arch.kernels.training import reservoir

        def reference(x_TBD: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
            outputs_TBH, state = self.unroll(self.project(x_TBD), ESNState(h_BH), 0)
            return outputs_TBH, *state

        tables = reservoir.Tables(
            W=self.W_HJ,
            W_sources=self.W_sources_HJ,
            bias=self.b_H,
            U=self.U_HK,
            U_sources=self.U_sources_HK,
            leak=self.leak_1,
        )
        outputs_TBH, h_BH = reservoir.scan(reference, tables, x_TBD, state.h_BH)
        return outputs_TBH, ESNState(h_BH)

    def kernel_weights(self) -> tuple[Weight, ...]:
        H, J, K = self.width, self.W_HJ.shape[1], self.U_HK.shape[1]
        return (
            Weight(self, "W_HJ", (H, J)),
            Weight(self, "W_sources_HJ", (H, J), torch.int32, below=self.input_width),
            Weight(self, "b_H", (H,)),
            Weight(self, "U_HK", (H, K)),
            Weight(self, "U_sources_HK", (H, K), torch.int32, below=H),
            Weight(self, "leak_1", (1,)),
        )

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        width = self.width
        return StreamingSpec(
            kind="cell",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width, self.W_HJ.shape[1], self.U_HK.shape[1]),
            weights=self.kernel_weights(),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, ESNState, batch, width),
            cell=LayerStep(_load_step),
        )


def spectral_radius_of(U_HK: Tensor, sources_HK: Tensor) -> Tensor:
    """Return the largest absolute value of the eigenvalues of a sparse matrix, a scalar.

    Args:
        U_HK: Weights of the connections of each row.
        sources_HK: Column of each weight.
    """
    dense_HH = torch.zeros(len(U_HK), len(U_HK), dtype=torch.float64, device=U_HK.device)
    dense_HH.scatter_(1, sources_HK.long(), U_HK.double())
    eigenvalues_H: Tensor = torch.linalg.eigvals(dense_HH)
    return eigenvalues_H.abs().max()


def _check_sources(layer: ESN, loaded: Mapping[str, Any], prefix: str, *_: object) -> None:
    """Raise `ValueError` if a connection of weights to be loaded reads an input or a unit that the layer does not have.

    The equations and the kernel read at these places. Nothing is loaded then.
    """
    for name, count in (("W_sources_HJ", layer.input_width), ("U_sources_HK", layer.width)):
        table = loaded.get(prefix + name)
        if table is not None and table.numel() and not table.is_meta and (source := outside(table, count)) is not None:
            raise ValueError(
                f"{prefix}{name}: a connection reads number {source}, but the layer has numbers 0 to {count - 1}; "
                "load the weights of a network with these inputs and units"
            )


def _uniform(bound: float, *shape: int) -> Tensor:
    """Return numbers between ± `bound`."""
    return torch.empty(shape).uniform_(-bound, bound)


def _sources(units: int, choices: int, count: int) -> Tensor:
    """Return for each unit `count` different numbers below `choices`, (units, count)."""
    return torch.rand(units, choices).argsort(1)[:, :count].int().contiguous()


def _add_products(total: Tensor, weights_HK: Tensor, sources_HK: Tensor, x: Tensor) -> Tensor:
    """Return the sum of a tensor and the product of a sparse matrix with vectors (..., D)."""
    for weight_H, source_H in zip(weights_HK.unbind(1), sources_HK.unbind(1), strict=True):
        total = total + weight_H * x.index_select(-1, source_H)
    return total


def _load_step() -> Any:
    from arch.kernels.streaming.reservoir_step import reservoir_step

    return reservoir_step
