"""What all architectures share: the layer contract, whole models, states, costs and the registry."""
