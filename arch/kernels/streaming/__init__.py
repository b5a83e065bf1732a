"""Kernels for single steps of a stream."""
