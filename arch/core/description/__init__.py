"""Descriptions of architectures for people: equations, options, state, costs, and what theory says."""
