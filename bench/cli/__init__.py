"""Declarations of the commands, their registration in `main`, and what they share, such as options and completion."""
