"""Sequence models written from scratch: one file per architecture, with numbered equations that the code cites."""

from arch.core.block import are_recurrent
from arch.core.build import build
from arch.core.compiled.compiled_cell import CompiledCell, cell_obstacle
from arch.core.layer import BlockOptions, Layer, RecurrentLayer
from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.parameter_group import ParameterGroup
from arch.core.precision import to_float32, to_float64
from arch.core.registry import (
    BLOCK_OPTIONS,
    RESERVED_OPTIONS,
    Arch,
    add,
    builds_own_block,
    built_in,
    defined_in,
    disable,
    get,
    names,
    remove,
)
from arch.core.state import State, copy_state, state_bytes
from arch.core.training import auxiliary_loss, parameter_groups
from arch.core.width import NoWidth
from results.specs import UnknownName

__all__ = [
    "BLOCK_OPTIONS",
    "RESERVED_OPTIONS",
    "Arch",
    "BlockOptions",
    "CompiledCell",
    "Layer",
    "NoWidth",
    "ParameterGroup",
    "RecurrentLayer",
    "SequenceModel",
    "State",
    "UnknownName",
    "add",
    "are_recurrent",
    "auxiliary_loss",
    "build",
    "builds_own_block",
    "built_in",
    "cell_obstacle",
    "copy_state",
    "defined_in",
    "disable",
    "get",
    "meta_device",
    "names",
    "parameter_count",
    "parameter_groups",
    "remove",
    "state_bytes",
    "to_float32",
    "to_float64",
]
