"""Kernels for single steps of a stream: one call per step of a whole model."""
