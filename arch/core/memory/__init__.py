"""Parts of layers with a matrix memory: the inputs of the delta rule, and the short convolution before a memory."""
