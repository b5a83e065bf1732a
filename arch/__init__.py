"""Sequence models written from scratch: one file an architecture, equations beside code."""

from arch._contract import Layer, RecurrentLayer, State, copy_state, state_bytes
from arch._model import SequenceModel, build, parameter_count
from arch._registry import Arch, UnknownName, add, built_in, defined_in, disable, get, names, parse, remove
from arch._sketch import sketched

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
    "names",
    "parameter_count",
    "parse",
    "remove",
    "sketched",
    "state_bytes",
]
