"""Random programs that compare compiled kernels with the equations, in memory between guard pages."""
