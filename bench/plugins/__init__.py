"""Load plugins from files and entry points, and check that they can be used."""
