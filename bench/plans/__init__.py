"""Plans: the shipped TOML files, and the code that loads plans and expands them into cases."""
