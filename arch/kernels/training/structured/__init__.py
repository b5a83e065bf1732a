"""Kernels of state-space models that do not depend on time: the discretisation, and the scan."""
