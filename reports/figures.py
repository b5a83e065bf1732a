"""The figures: pure functions of a run and its records to SVG. matplotlib is imported when one is drawn."""

from reports._accuracy_figure import accuracy_against_length
from reports._canvas import Drawing
from reports._cost_figure import accuracy_against_cost
from reports._streaming_figure import streaming_cost
from reports._training_figure import training_curves

__all__ = ["Drawing", "accuracy_against_cost", "accuracy_against_length", "streaming_cost", "training_curves"]
