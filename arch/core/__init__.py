"""What all architectures share: the layer contract, models, states, the registry."""
