"""Run a plan: resume, schedule training and timing jobs, store every record."""
