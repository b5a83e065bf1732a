"""Sequence models written from scratch: one file an architecture, equations beside code."""

from arch._contract import Layer, RecurrentLayer, State, copy_state, state_bytes
from arch._model import SequenceModel, build, parameter_count
from arch._registry import Arch, UnknownName, get, names, parse

__all__ = [
    "Arch",
    "Layer",
    "RecurrentLayer",
    "SequenceModel",
    "State",
    "UnknownName",
    "build",
    "copy_state",
    "get",
    "names",
    "parameter_count",
    "parse",
    "state_bytes",
]
