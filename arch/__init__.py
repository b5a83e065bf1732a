"""Sequence models written from scratch: one file an architecture, equations beside code."""

from arch.core.build import build
from arch.core.layer import Layer, RecurrentLayer
from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.registry import Arch, UnknownName, add, built_in, defined_in, disable, get, names, parse, remove
from arch.core.state import State, copy_state, state_bytes

__all__ = [
    "Arch",
    "Layer",
    "RecurrentLayer",
    "SequenceModel",
    "State",
    "UnknownName",
    "add",
    "build",
    "built_in",
    "copy_state",
    "defined_in",
    "disable",
    "get",
    "meta_device",
    "names",
    "parameter_count",
    "parse",
    "remove",
    "state_bytes",
]
