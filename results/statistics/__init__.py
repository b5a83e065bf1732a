"""Intervals, permutation tests, growth fits, noise detection and the roofline model."""
