"""Plans: the shipped TOML files, and the code that reads and expands them and selects from them."""
