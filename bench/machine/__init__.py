"""The machine that measures: lock, clock, noise, memory, environment, provenance."""
