"""The machine that runs the measurements: its lock, timer, noise, memory, environment and the version of the code."""
