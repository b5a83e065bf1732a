"""Names, options and registries of architectures and tasks.

Stored records contain specs, so this is the one package that `arch`, `tasks`, `results` and `reports` all share.
This package imports neither torch nor any other part of `results`.
"""

from results.specs.registry import Option, Registry, UnknownName, parse_options, suggestion
from results.specs.spec import Spec, SpecError

__all__ = ["Option", "Registry", "Spec", "SpecError", "UnknownName", "parse_options", "suggestion"]
