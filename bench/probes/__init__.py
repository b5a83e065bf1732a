"""Probes: each measures one aspect of trained models and leaves the models unchanged. See `results.PROBES`."""
