"""Training kernels of the state-space models `mamba` and `s4d`: scans, their parts, and a discretisation."""
