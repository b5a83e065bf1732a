"""Plans, training, probes, runs and the command line. Modules here import `arch`, `tasks`, `results` and `reports`."""
