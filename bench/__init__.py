"""Plans, training, probes, runs and the command line. This package uses all the others."""
