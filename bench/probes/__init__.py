"""Probes: each measures one aspect of trained models without changing their weights. See `results.PROBES`."""
