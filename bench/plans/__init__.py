"""Plans: the shipped TOML files, and the code that reads, expands and selects from them."""
