"""Kernels for forward and backward passes over whole sequences."""
