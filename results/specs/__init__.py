"""Names, options and registries of architectures and tasks.

`arch` and `tasks` build their registries with this package. `bench`, `results` and `reports` parse specs with it. No
module of this package imports torch or any other part of `results`.
"""

from results.specs.invalid_value import reason_of, shown_value
from results.specs.registry import Option, Registry, UnknownName, parse_options, suggestion
from results.specs.spec import Spec, SpecError, value_text

__all__ = [
    "Option",
    "Registry",
    "Spec",
    "SpecError",
    "UnknownName",
    "parse_options",
    "reason_of",
    "shown_value",
    "suggestion",
    "value_text",
]
