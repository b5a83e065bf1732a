"""Names, options and registries of architectures and tasks.

`arch`, `tasks` and `reports` import this package too, since stored records contain specs. This package imports neither
torch nor any other part of `results`.
"""

from results.specs.registry import Option, Registry, UnknownName, parse_options, suggestion
from results.specs.spec import Spec, SpecError

__all__ = ["Option", "Registry", "Spec", "SpecError", "UnknownName", "parse_options", "suggestion"]
