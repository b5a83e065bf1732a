"""Shared parts of all architectures: the layer contract, whole models, states, costs and the registry."""
