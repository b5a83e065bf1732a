"""Load plugin files and entry points, and check them before a run."""
