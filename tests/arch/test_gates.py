"""What the gates say: the share of the memory that a step keeps, and how strongly it writes."""

# Shape suffixes: B batch, D input width

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.arch.oracles import close, reals
from tests.arch.subjects import BATCH
from tests.arch.test_delta_rule import layer_of

MEMORIES = {
    "lru": (0, 1),
    "s4d": (0, 1),
    "ret_net": (0,),
    "ind_rnn:nonlinearity=relu,signed=True": (0,),
    "min_gru:signed=True": (0,),
    "mamba": (0,),
    "mamba:negative=True": (0,),
    "mamba2": (0,),
    "gla": (0,),
}
"""Specs, with the indices of the parts of the state that are the memory: real and imaginary part are two."""
CONSTANT = ("lru", "s4d", "ret_net", "ind_rnn:nonlinearity=relu,signed=True")
"""Specs whose decays do not depend on the input."""


def gates_of(spec: str, seed: int) -> tuple[Any, Tensor, dict[str, Tensor]]:
    layer = layer_of(spec)
    x_BD = reals(BATCH, layer.inputs, seed=seed)
    return layer, x_BD, layer.gates(x_BD, layer.init_state(BATCH))


@pytest.mark.parametrize("spec", MEMORIES)
def test_the_magnitude_of_the_decay_is_the_share_of_the_memory_that_a_step_keeps(spec: str) -> None:
    """Check that a step shrinks a change of the memory by the decay. Rotations within a unit do not count."""
    layer, x_BD, gates = gates_of(spec, seed=3)
    empty = layer.init_state(BATCH)
    # a large memory, so that units with a ReLU are active
    before = empty._replace(**{empty._fields[i]: 9 + reals(*empty[i].shape, seed=4 + i).abs() for i in MEMORIES[spec]})
    changed = before._replace(
        **{empty._fields[i]: before[i] + reals(*empty[i].shape, seed=6 + i) for i in MEMORIES[spec]}
    )
    after, moved = (layer.step(x_BD, state)[1] for state in (before, changed))
    old, new = (
        torch.stack([to[i] - of[i] for i in MEMORIES[spec]], -1) for of, to in ((before, changed), (after, moved))
    )
    decay = gates["decay"]
    if spec.partition(":")[0] in ("mamba", "s4d"):
        decay = decay.mT  # the state has its states before its channels
    within = (*range(decay.dim(), old.dim()),)  # the numbers of a unit: of a head, of a key, or of a complex number
    active = torch.ones_like(decay, dtype=torch.bool) if "relu" not in spec else after[0] > 0
    assert active.float().mean() > 0.3
    kept = torch.linalg.vector_norm(new, dim=within) / torch.linalg.vector_norm(old, dim=within)
    close(kept[active], decay.abs()[active])


@pytest.mark.parametrize("spec", CONSTANT)
def test_constant_decays_do_not_depend_on_the_input(spec: str) -> None:
    (_, _, first), (_, _, second) = (gates_of(spec, seed) for seed in (3, 4))
    assert torch.equal(first["decay"], second["decay"])
    assert len(first["decay"].unique()) > 1, "units differ"


@pytest.mark.parametrize(("spec", "write", "rates"), [("mamba", "input", "A_log_NE"), ("mamba2", "strength", "rate_N")])
def test_a_state_that_decays_at_the_rate_one_writes_what_it_forgets(spec: str, write: str, rates: str) -> None:
    """Check that the write gate is 1 - a if A = -1, as in theorem 1 of Gu & Dao 2023."""
    layer = layer_of(spec)
    with torch.no_grad():
        getattr(layer, rates).zero_()
    gates = layer.gates(9 * reals(BATCH, layer.inputs, seed=3), layer.init_state(BATCH))
    decay = gates["decay"][..., 0] if spec == "mamba" else gates["decay"]
    close(gates[write], 1 - decay)
