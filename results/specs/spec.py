"""A spec names an architecture or a task with options: `name:option=value,option=value`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class SpecError(ValueError):
    """Error for text that is not a valid spec."""


def value_text(value: object) -> str:
    """Return the value of an option or of a field of the protocol as text, in the one spelling of all output.

    Truth values are `True` and `False`. Numbers are as Python writes them, such as `8`, `1.0` and `1e-05`. The items of
    a list have commas between them. None is `none`.

    >>> [value_text(value) for value in (True, 8, 1.0, ("1x", 64), None)]
    ['True', '8', '1.0', '1x,64', 'none']
    """
    if isinstance(value, tuple | list):
        return ",".join(map(value_text, value))
    return "none" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Spec:
    """A name with options. `str()` returns the spec as text, with the options sorted by name."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Parse a spec that a user wrote. Raises `SpecError` if the text is malformed or repeats an option.

        >>> Spec.parse("lstm:bias=False,forget_bias=1").options
        {'bias': 'False', 'forget_bias': '1'}
        """
        stored = cls.parse_stored(text)
        spec = cls(stored.name.strip(), {name.strip(): value.strip() for name, value in stored.options.items()})
        rest = text.partition(":")[2]
        items = rest.split(",") if rest else []
        if not spec.name or not all("=" in item for item in items):
            raise SpecError(f"{text!r} is not a spec of the form name:option=value,option=value")
        if len(spec.options) != len(items):
            raise SpecError(f"{text!r} repeats an option; give each option once")
        return spec

    @classmethod
    def parse_stored(cls, text: str) -> Spec:
        """Parse a spec from a record, valid or not, and keep its white space.

        An item without `=` becomes an option with an empty value.
        """
        name, _, rest = text.partition(":")
        pairs = [item.partition("=") for item in rest.split(",")] if rest else []
        return cls(name, {option: value for option, _, value in pairs})

    @property
    def option_texts(self) -> tuple[str, ...]:
        """The options as `option=value`, in their original order. Without a value, the text is the option's name."""
        return tuple(f"{option}={value}" if value else option for option, value in self.options.items())

    def __str__(self) -> str:
        options = ",".join(f"{option}={value}" for option, value in sorted(self.options.items()))
        return f"{self.name}:{options}" if options else self.name
