"""Sequence models written from scratch: one file per architecture, with numbered equations that the code cites."""

from arch.core.block import have_constant_cost
from arch.core.build import build
from arch.core.compiled.compiled_cell import CompiledCell, cell_obstacle
from arch.core.description.describe import Description, describe
from arch.core.description.families import FAMILIES, FamilyText, sources_of_theory
from arch.core.layer import BlockOptions, Family, Layer, ParameterGroup
from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.precision import to_float32, to_float64
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.registry import (
    BLOCK_OPTIONS,
    RESERVED_OPTIONS,
    Arch,
    add,
    built_in,
    defined_in,
    disable,
    get,
    names,
    own_block_options,
    remove,
)
from arch.core.scan_layer import ScanLayer
from arch.core.state import State, copy_state, state_bytes
from arch.core.training import auxiliary_loss, parameter_groups
from arch.core.warm_up import compile_kernels
from arch.core.width import NoWidth
from results.specs import UnknownName

__all__ = [
    "BLOCK_OPTIONS",
    "FAMILIES",
    "RESERVED_OPTIONS",
    "Arch",
    "BlockOptions",
    "CompiledCell",
    "Description",
    "Family",
    "FamilyText",
    "Layer",
    "NoWidth",
    "ParameterGroup",
    "RecurrentLayer",
    "ScanLayer",
    "SequenceModel",
    "State",
    "UnknownName",
    "add",
    "auxiliary_loss",
    "build",
    "built_in",
    "cell_obstacle",
    "compile_kernels",
    "copy_state",
    "defined_in",
    "describe",
    "disable",
    "get",
    "have_constant_cost",
    "meta_device",
    "names",
    "own_block_options",
    "parameter_count",
    "parameter_groups",
    "remove",
    "sources_of_theory",
    "state_bytes",
    "to_float32",
    "to_float64",
]
