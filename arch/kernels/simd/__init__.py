"""Vector primitives that all kernels are built from."""
