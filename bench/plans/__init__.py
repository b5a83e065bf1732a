"""Plans: the shipped TOML files, and the code that reads plans, expands them and selects their cases."""
