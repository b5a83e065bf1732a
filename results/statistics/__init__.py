"""Intervals, permutation tests, growth fits, noise and roofline formulas."""
