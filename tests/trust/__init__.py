"""Checks of the measuring instrument itself. Run them as `python -m tests.trust`."""
