"""Plans, training, probes, lanes and the command line: the room that knows all the others."""
