"""The task contract, the registry, descriptions of samples, overlap of splits, and expressions of `listops`."""
