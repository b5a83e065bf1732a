"""Compare two runs, and follow a case over many runs."""
