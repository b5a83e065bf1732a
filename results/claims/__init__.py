"""Judge the claims of a plan against the records of a run."""
