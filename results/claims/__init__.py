"""Judge the claims of a plan by its records."""
