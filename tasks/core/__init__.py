"""The task contract, the registry, and descriptions of samples."""
