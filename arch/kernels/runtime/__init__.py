"""Compile, launch and parallelise kernels."""
