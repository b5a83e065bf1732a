"""Checks of the measuring instrument itself; run `python -m tests.trust`."""
