"""Judge the claims of a plan by the records of a run."""
