"""TCN: dilated causal convolutions, whose reach doubles from layer to layer.

The source is Bai et al. 2018, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
Modeling". A layer is one of their residual blocks, from the input x to the output y. A convolution has K taps, d steps
apart. K is `kernel`. d is 1 in the first layer of a model, and grows by the factor `dilation` per layer.

    u_t = relu(b_1 + Σ_k W_1k x_(t-(K-1-k)d))      (1)
    v_t = relu(b_2 + Σ_k W_2k u_(t-(K-1-k)d))      (2)
    y_t = relu(v_t + P x_t)                        (3)  P x is x itself if D = H, else a matrix product plus p
    W   = g V / |V|                                (4)  per output channel, if `weight_norm`; else W = V

Values before the first step are zero. Each convolution keeps its last N = (K - 1) d inputs in a ring buffer, and these
two buffers are the state. A layer sees 2 N + 1 steps. A model of L layers with dilation=2 sees

    1 + 2 (K - 1) (2^L - 1) steps                  (5)

and nothing before them. By default, two layers see 37 steps, and eight layers see 3,061.

    FLOPs per step: 2 K H (D + H), and 2 D H for P                           (6)
    numbers moved per step: K H (D + H) + 2 H weights, 2 H for g, (D + 1) H for P;
        of the state, (K - 1) (D + H) read and D + H written                 (7)
"""

# Shape suffixes: B batch, T time, N remembered steps, S = N + T, K taps, D input width, H hidden width

from __future__ import annotations

import functools
import math
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.layer import require_steps
from arch.core.scan_layer import ScanLayer
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import Bound, StreamingSpec
from arch.kernels.runtime.tensors import tensor_obstacle

MAX_KERNEL = 64
"""Maximum number of taps. A longer reach is the work of the dilation."""
MAX_PAST = 1 << 16
"""Maximum number of steps that a convolution reaches back, since its ring buffer has as many slots."""
PROJECTION_DEVIATION = 0.01
"""Standard deviation of the initial P, as in the authors' code."""


class TCNState(NamedTuple):
    """The last N inputs of both convolutions. The next inputs replace those in the slot `oldest`."""

    x_BND: Tensor
    u_BNH: Tensor
    oldest: int


class TCN(ScanLayer):
    """A residual block of two causal convolutions with the same dilation.

    The filters and their biases start uniform in ±1/√(K D), as in `torch.nn.Conv1d`, and g starts as |V|. The authors'
    code sets the filters to smaller numbers first, but its weight normalisation undoes this. The dropout after (1) and
    (2) is left out: the option `dropout` acts between layers.

    Args:
        inputs: Input width D.
        width: Output width H.
        kernel: Number of taps K of each filter, from 2 to 64.
        dilation: Factor by which the distance of the taps grows from layer to layer, at least 1.
        weight_norm: Whether the length g and the direction V of each filter are learned apart (4).
        backend: Implementation of a model's `step`: `auto`, `reference` or `fused` (see `arch.core.backend`). `scan`
            always runs torch's convolution. At the sizes of small models, a training step takes about as long as that
            of `lstm`.

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).

    Raises `ValueError` if `kernel` or `dilation` is out of range, or if a layer would reach back too far.
    """

    family = "convolution"

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        kernel: int = 7,
        dilation: int = 2,
        weight_norm: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if not 2 <= kernel <= MAX_KERNEL:
            raise ValueError(f"kernel must be from 2 to {MAX_KERNEL} steps, not {kernel}; reach further by dilation")
        if dilation < 1:
            raise ValueError(f"dilation must be at least 1, not {dilation}")
        self.width, self.kernel, self.dilation, self.backend = width, kernel, dilation, backend
        self.apart = 1
        self.V1_HKD, self.g1_H, self.b1_H = _filters(width, kernel, inputs, weight_norm)
        self.V2_HKH, self.g2_H, self.b2_H = _filters(width, kernel, width, weight_norm)
        self.P_HD: nn.Parameter | None = None
        self.p_H: nn.Parameter | None = None
        if inputs != width:
            self.P_HD = nn.Parameter(torch.empty(width, inputs).normal_(std=PROJECTION_DEVIATION))
            self.p_H = nn.Parameter(torch.empty(width).uniform_(-1 / math.sqrt(inputs), 1 / math.sqrt(inputs)))

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return `depth` layers. The distance d of the taps grows from layer to layer.

        The arguments are those of `Layer.stack`.
        """
        layers = super().stack(inputs, width, depth, **options)
        for i, layer in enumerate(layers):
            layer.apart = layer.dilation**i
            if layer.past > MAX_PAST:
                raise ValueError(
                    f"layer {i + 1} with kernel={layer.kernel} and dilation={layer.dilation} would reach back "
                    f"{layer.past:,} steps, above the limit of {MAX_PAST:,}; lower the depth, kernel or dilation"
                )
        return layers

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.V1_HKD.shape[-1]

    @property
    def past(self) -> int:
        """N, the number of steps that each convolution reaches back."""
        return (self.kernel - 1) * self.apart

    @property
    def receptive_field(self) -> int:
        """Number of steps that the layer sees, including the current one."""
        return 2 * self.past + 1

    def flops_per_step(self) -> int:
        return self._first_flops() + self._second_flops()  # (6)

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        return batch * length * ((2 if inputs_learn else 1) * self._first_flops() + 2 * self._second_flops())

    def step_bytes(self, position: int) -> int:
        weights = sum(parameter.numel() for parameter in self.parameters())
        return (weights + self.kernel * (self.inputs + self.width)) * element_bytes(self)  # (7)

    def _first_flops(self) -> int:
        """Return the FLOPs per step of the products with x: those of (1), and of P."""
        return 2 * self.V1_HKD.numel() + (0 if self.P_HD is None else 2 * self.P_HD.numel())

    def _second_flops(self) -> int:
        """Return the FLOPs per step of (2)."""
        return 2 * self.V2_HKH.numel()

    def backend_for(self, x_BTD: Tensor, state: State | None = None) -> Literal["reference"]:
        """Return `reference`: `scan` runs torch's convolution, whatever the option `backend` is."""
        return "reference"

    def init_state(self, batch: int) -> TCNState:
        N = self.past
        return TCNState(self.empty(batch, N, self.inputs), self.empty(batch, N, self.width), 0)

    def scan(self, x_BTD: Tensor, state: TCNState) -> tuple[Tensor, TCNState]:
        require_steps(x_BTD)
        W1_HKD, W2_HKH = _normalised(self.V1_HKD, self.g1_H), _normalised(self.V2_HKH, self.g2_H)
        u_BTH, x_BND = self._convolve(x_BTD, state.x_BND, state.oldest, W1_HKD, self.b1_H)  # (1)
        v_BTH, u_BNH = self._convolve(u_BTH, state.u_BNH, state.oldest, W2_HKH, self.b2_H)  # (2)
        shortcut_BTH = x_BTD if self.P_HD is None else functional.linear(x_BTD, self.P_HD, self.p_H)
        y_BTH = (v_BTH + shortcut_BTH).relu()  # (3)
        return y_BTH, TCNState(x_BND, u_BNH, (state.oldest + x_BTD.shape[1]) % self.past)

    def _convolve(
        self, x_BTD: Tensor, past_BND: Tensor, oldest: int, W_HKD: Tensor, b_H: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return relu(b + Σ_k W_k x_(t-(K-1-k)d)) of T steps, (B, T, H), and the ring buffer after them, (B, N, D).

        Args:
            x_BTD: Inputs of the convolution.
            past_BND: The ring buffer: the last N inputs, of which the oldest is in the slot `oldest`.
            oldest: Slot of the oldest input.
            W_HKD: Filters.
            b_H: Biases.
        """
        T, N = x_BTD.shape[1], self.past
        seen_BSD = torch.cat([past_BND.roll(-oldest, 1), x_BTD], 1)
        convolved_BHT = functional.conv1d(seen_BSD.mT, W_HKD.mT, b_H, dilation=self.apart)
        return functional.relu(convolved_BHT.mT), seen_BSD[:, T:].roll((oldest + T) % N, 1)

    def kernel_weights(self) -> tuple[Weight, ...]:
        return tuple(weight for weight in self._weights() if weight is not None)

    def _weights(self) -> tuple[Weight | None, ...]:
        """Return V, g and b of (1), those of (2), P and p. None stands for one that the layer does not have."""
        D, H, K = self.inputs, self.width, self.kernel
        shapes = {"V1_HKD": (H, K, D), "g1_H": (H,), "b1_H": (H,), "V2_HKH": (H, K, H), "g2_H": (H,), "b2_H": (H,)}
        shapes |= {"P_HD": (H, D), "p_H": (H,)}
        return tuple(None if getattr(self, name) is None else Weight(self, name, shapes[name]) for name in shapes)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        D, H, K = self.inputs, self.width, self.kernel
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H, K, self.apart),
            weights=self._weights(),
            workspace=K * max(D, H) + 3 * H,
            bind=self._bind,
            cell=LayerStep(_compiled_step),
        )

    def _bind(self, state: TCNState, batch: int, is_checked: bool, steps: int) -> Bound | None:
        """Prepare the ring buffers for `steps` steps of the kernel. See `StreamingSpec.bind`.

        The words are the addresses of both buffers, and the slot of the oldest inputs.
        """
        if type(state) is not TCNState or type(state.oldest) is not int:
            return None
        x_BND, u_BNH, oldest = state
        N = self.past
        if not is_checked:
            if not 0 <= oldest < N or any(
                tensor_obstacle(part, (batch, N, width)) is not None
                for part, width in ((x_BND, self.inputs), (u_BNH, self.width))
            ):
                return None
            x_BND, u_BNH = (part.detach().clone(memory_format=torch.contiguous_format) for part in (x_BND, u_BNH))
        later = functools.partial(_later, N)
        after = later(TCNState(x_BND, u_BNH, oldest), steps)
        return Bound((x_BND.data_ptr(), u_BNH.data_ptr(), oldest), after, (x_BND, u_BNH), advance=later)


def _filters(width: int, kernel: int, inputs: int, weight_norm: bool) -> tuple[nn.Parameter, Any, nn.Parameter]:
    """Return initial V (H, K, D), g (H,) and b (H,) of a convolution. Without `weight_norm`, g is None."""
    bound = 1 / math.sqrt(kernel * inputs)
    V_HKD = torch.empty(width, kernel, inputs).uniform_(-bound, bound)
    g_H = nn.Parameter(V_HKD.square().sum((1, 2)).sqrt()) if weight_norm else None
    return nn.Parameter(V_HKD), g_H, nn.Parameter(torch.empty(width).uniform_(-bound, bound))


def _normalised(V_HKD: Tensor, g_H: Tensor | None) -> Tensor:
    """Return W of equation (4)."""
    if g_H is None:
        return V_HKD
    scale_H: Tensor = g_H / torch.linalg.vector_norm(V_HKD, dim=(1, 2))
    return V_HKD * scale_H[:, None, None]


def _later(slots: int, state: TCNState, steps: int) -> TCNState:
    """Return the state after further steps, whose inputs the kernel has written into the ring buffers."""
    return TCNState(state.x_BND, state.u_BNH, (state.oldest + steps) % slots)


def _compiled_step() -> Any:
    from arch.kernels.streaming.convolution_step import convolution_step

    return convolution_step
