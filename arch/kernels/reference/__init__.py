"""The kernels of `training/` in plain torch and numpy, to read and to test against. Nothing else calls them.

A function here takes the kernel's own arguments: its named tuple of tensors and sizes, the first row, and the row after
the last one. It writes the same results to the same tensors. It does not split steps into chunks, reads no packed
copies, and works in any precision.
"""
