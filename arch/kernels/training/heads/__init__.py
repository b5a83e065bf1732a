"""Kernels of layers of heads: what stands before and around the scan of their memories."""
