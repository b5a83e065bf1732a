"""Format numbers and escape text."""
