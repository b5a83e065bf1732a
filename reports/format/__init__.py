"""Format numbers and escape text."""

from reports.format.numbers import plural

__all__ = ["plural"]
