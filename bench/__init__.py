"""Plans, training, probes, runs and the command line. It imports `arch`, `tasks`, `results` and `reports`."""
