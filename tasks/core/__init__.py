"""The task contract, the registry, descriptions of samples, overlap of splits, groups, counts, and `listops`."""
