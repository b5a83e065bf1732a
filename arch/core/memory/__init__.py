"""Parts of layers with a matrix memory: heads with their norms, and the inputs of the delta rule."""
