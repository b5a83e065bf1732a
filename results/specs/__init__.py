"""How architectures and tasks are named. Every record names them, so all packages share this."""

from results.specs.spec import Spec, SpecError

__all__ = ["Spec", "SpecError"]
