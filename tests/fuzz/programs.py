"""Random programs: a model, and a sequence of calls and edits. Each result is compared with the equations.

The equations run in float64 on a copy of the model as it is at the call. Both must give the same numbers, or raise the
same class of error.
"""

# Shape suffixes: B batch, T time, D channels

from __future__ import annotations

import contextlib
import copy
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import arch
from arch import SequenceModel
from arch.core.compiled import program
from tests.fuzz.edits import EDITS
from tests.fuzz.memory import Arena, guarding

TOLERANCE = 2e-4
"""Tolerance relative to the largest number of a result. Float32 rounding stays below 2e-5 in these short programs."""
MAX_STEPS = 9
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 17, 24, 32, 33)
SPECS = (
    *("rnn", "rnn:nonlinearity=relu", "rnn:bias=False", "lstm", "lstm:bias=False,forget_bias=1", "lstm:forget_bias=1"),
    *("lstm:forget=coupled", "lstm:forget=none,peepholes=True", "lstm:peepholes=True,bias=False"),
    *("gru", "gru:bias=False", "gru:reset=before", "gru:reset=before,bias=False"),
    *("slstm", "slstm:block=bare,heads=2", "esn", "esn:connections=3,leak=0.5"),
    *("transformer", "transformer:window=3", "transformer:positions=alibi", "transformer:positions=alibi,window=2"),
    *("transformer:positions=learned,max_length=20", "transformer:positions=sinusoidal", "transformer:positions=none"),
    "transformer:heads=1,expansion=2",
    *("rnn:conv=4", "lstm:block=residual,conv=4,expansion=2", "gru:block=residual", "gru:block=residual,expansion=2"),
    *("transformer:block=bare", "transformer:conv=4,window=3", "transformer:expansion=0"),
    *("mamba", "mamba:block=bare,states=3", "mamba:conv=0,expand=1", "s4d:states=6", "s4d:block=bare,conv=4,states=2"),
    *("tcn:kernel=3", "tcn:kernel=2,weight_norm=False,conv=4", "hybrid", "hybrid:pattern=tcn:block=residual+gru"),
)


M = TypeVar("M", bound=nn.Module)


class Difference(AssertionError):
    """A result of a kernel that the equations do not give."""


class Program:
    """One random program. The same seed makes the same program.

    Args:
        seed: The seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.arena = Arena()
        self.log: list[str] = []

    def run(self) -> int:
        """Run the program and return the number of compared results. Raises `Difference` with the calls so far."""
        torch.manual_seed(self.seed)
        compared = 0
        with guarding(self.arena):
            self.model = self._build()
            self._reset()
            for _ in range(self.rng.randint(3, 8)):
                call = self.rng.choice(
                    [
                        *(
                            self._edit,
                            self._edit,
                            self._steps,
                            self._steps,
                            self._stream,
                            self._scan,
                            self._train,
                            self._copy,
                        ),
                        *(self._reset, self._other_state, self._threads, self._load),
                    ]
                )
                self.log.append(call.__name__.strip("_"))
                try:
                    compared += call() or 0
                    self.arena.check()
                except AssertionError as error:
                    raise Difference(f"seed {self.seed}: {', '.join(self.log)}: {error}") from None
        return compared

    # the model

    def _build(self) -> SequenceModel:
        rng = self.rng
        spec, width, depth = rng.choice(SPECS), rng.choice(WIDTHS), rng.randint(1, 3)
        self.vocabulary = rng.choice([None, None, 5])
        self.channels = None if self.vocabulary else rng.randint(1, 5)
        if spec.startswith(("transformer", "slstm", "hybrid")):
            width = max(4, width // 4 * 4)
        elif "residual" in spec:
            width = max(4, width)  # a norm of one or two numbers multiplies rounding by up to 316, in the equations too
        self.log.append(f"{spec} width {width} depth {depth}")
        model = arch.build(
            spec,
            outputs=rng.randint(1, 5),
            vocabulary=self.vocabulary,
            channels=self.channels,
            width=width,
            depth=depth,
        )
        for parameter in model.parameters():
            parameter.data = self.arena.place(parameter.data + 0.2 * torch.randn(parameter.shape))
        return model.eval()

    def _inputs(self, steps: int) -> Tensor:
        batch = self.batch
        if self.vocabulary is not None:
            return self.arena.place(torch.randint(self.vocabulary, (batch, steps)))
        channels = self.channels if self.rng.random() < 0.95 else self.rng.randint(1, 6)
        assert channels is not None
        x = self.arena.place(torch.randn(batch, steps, channels))
        layouts: list[Callable[[Tensor], Tensor]] = [
            *([lambda x: x] * 6),
            lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
            torch._neg_view,
            lambda x: x[:, :1].expand(x.shape),
        ]
        return self.rng.choice(layouts)(x)

    # calls

    def _edit(self) -> None:
        edit = self.rng.choice(EDITS)
        self.log[-1] = edit.__name__
        with contextlib.suppress(
            ValueError, RuntimeError, AttributeError, KeyError, TypeError
        ):  # torch may refuse an edit
            edit(self.model, self.rng)

    def _reset(self) -> None:
        self.batch = self.rng.choice([1, 1, 2, 3, 5, 17])
        self.state: Any = None
        self.exact_state: Any = None

    def _copy(self) -> None:
        self.model = _copy(self.model)

    def _load(self) -> None:
        state = {name: tensor * 0.9 for name, tensor in self.model.state_dict().items()}
        with contextlib.suppress(RuntimeError):  # torch cannot write into an expanded parameter
            self.model.load_state_dict(state)

    def _train(self) -> None:
        """Take one small optimiser step, if the model can be run at all."""
        try:
            self.model(self._inputs(3)).square().mean().backward()
        except (RuntimeError, ValueError, IndexError):
            return
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.grad is not None and parameter.is_contiguous():
                    parameter.sub_(0.05 * parameter.grad.clamp(-1, 1))
                parameter.grad = None

    def _other_state(self) -> None:
        """Change the state: other memory, other rows, zeros, or the empty state of another batch."""
        if self.state is None:
            rows = self.rng.choice([1, self.batch + 1])
            self.log[-1] = f"empty state of {rows} rows"
            self.state, self.exact_state = self.model.init_state(rows), _exact(self.model).init_state(rows)
            return
        kind = self.rng.choice(["moved", "zeros", "rows"])
        self.log[-1] = f"state {kind}"

        def changed(tensor: Tensor) -> Tensor:
            if kind == "moved" and tensor.dtype is torch.float32:
                tensor.data = self.arena.place(tensor)
                return tensor
            if kind == "zeros":
                tensor.data = torch.zeros_like(tensor)
                return tensor
            return tensor[:1].clone() if kind == "rows" else tensor

        self.state = pytree.tree_map_only(Tensor, changed, self.state)
        self.exact_state = pytree.tree_map_only(Tensor, changed, self.exact_state)

    def _steps(self) -> int:
        x = self._inputs(self.rng.randint(1, MAX_STEPS))
        return self._compare(lambda model, x, state: _steps(model, x, state), x)

    def _stream(self) -> int:
        program.MIN_PACKED_STEPS = self.rng.choice([1, 4, 1000])
        x = self._inputs(self.rng.randint(1, MAX_STEPS))
        return self._compare(lambda model, x, state: _stream(model, x, state), x)

    def _scan(self) -> int:
        x = self._inputs(self.rng.randint(1, MAX_STEPS))
        weights = torch.randn(1000)
        return self._compare(lambda model, x, state: _scan(model, x, state, weights), x)

    def _compare(self, run: Callable[..., tuple[list[Tensor], Any]], x: Tensor) -> int:
        exact = _exact(self.model)
        exact_x = x.double() if x.is_floating_point() else x
        expected = _outcome(lambda: run(exact, exact_x, self.exact_state))
        actual = _outcome(lambda: run(self.model, x, self.state))
        if isinstance(expected, type) or isinstance(actual, type):
            assert actual is expected, f"{_name(actual)} instead of {_name(expected)}"
            self._reset()
            return 1
        _assert_close(actual[0], expected[0])
        self.state, self.exact_state = actual[1], expected[1]
        return 1

    def _threads(self) -> int:
        """Stream through this model and another one with the same layers, in two threads."""
        readout = _copy(self.model.readout)
        other = SequenceModel(self.model.encoder, list(self.model.layers), readout).eval()  # type: ignore[arg-type]
        jobs = [(self.model, self._inputs(7)), (other, self._inputs(5))]
        expected = [_outcome(lambda m=m, x=x: _steps(_exact(m), _to_double(x), None)[0]) for m, x in jobs]  # type: ignore[misc]
        found: list[Any] = [None, None]

        def stream(number: int) -> None:
            model, x = jobs[number]
            found[number] = _outcome(lambda: _steps(model, x, None)[0])

        threads = [threading.Thread(target=stream, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for actual, wanted in zip(found, expected, strict=True):
            if isinstance(wanted, type) or isinstance(actual, type):
                assert actual is wanted, f"{_name(actual)} instead of {_name(wanted)} in a thread"
            else:
                _assert_close(actual, wanted)
        return 2


def _copy(model: M) -> M:
    """Return a deep copy. Pruning leaves tensors on modules that belong to a graph, which torch does not copy."""
    for module in model.modules():
        for owner in (vars(module), module._buffers):
            for name, value in owner.items():
                if isinstance(value, Tensor) and not value.is_leaf:
                    owner[name] = value.detach()
    return copy.deepcopy(model)


def _exact(model: SequenceModel) -> SequenceModel:
    """Return a copy of a model that runs by the equations in float64."""
    exact = _copy(model).double()
    for module in exact.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                vars(module)[name] = value.double()  # `double` converts parameters and buffers only
    for layer in exact.layers:
        layer.backend = "reference"  # type: ignore[assignment]
    return exact


def _to_double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x


def _steps(model: SequenceModel, x: Tensor, state: Any) -> tuple[list[Tensor], Any]:
    outputs = []
    with torch.no_grad():
        state = model.init_state(len(x)) if state is None else state
        for one in x.unbind(1):
            output, state = model.step(one, state)
            outputs.append(output.clone())
    return outputs, state


def _stream(model: SequenceModel, x: Tensor, state: Any) -> tuple[list[Tensor], Any]:
    with torch.no_grad():
        outputs, state = model.stream(x, model.init_state(len(x)) if state is None else state)
    return [outputs], state


def _scan(model: SequenceModel, x: Tensor, state: Any, weights: Tensor) -> tuple[list[Tensor], Any]:
    """Return outputs and gradients of `scan`, and the detached state after it."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if x.is_floating_point():
        x = x.detach().requires_grad_()
        learned = [x, *learned]
    output, state = model.scan(x, model.init_state(len(x)) if state is None else state)
    found: list[Tensor] = []
    if output.requires_grad and learned:
        seed = weights[: output.numel()].to(output.dtype).view(output.shape)
        gradients = torch.autograd.grad(output, learned, seed, allow_unused=True)
        found = [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(learned, gradients, strict=True)
        ]
    return [output.detach(), *found], pytree.tree_map_only(Tensor, Tensor.detach, state)


def _outcome(run: Callable[[], Any]) -> Any:
    """Return what a call returns, or the class of its error."""
    try:
        return run()
    except Exception as error:
        return type(error)


def _name(outcome: Any) -> str:
    return outcome.__name__ if isinstance(outcome, type) else "a result"


def _assert_close(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert len(actual) == len(expected)
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        assert one.shape == other.shape, f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        if other.isfinite().all():
            scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
            difference = float((one.double() - other.double()).abs().max()) if other.numel() else 0.0
            assert difference <= TOLERANCE * scale, f"result {number} differs by {difference:.3g} of {scale:.3g}"
