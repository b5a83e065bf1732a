"""Declarations of the command line. Each module declares one group of commands; `main` registers them."""
