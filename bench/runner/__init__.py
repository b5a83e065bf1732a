"""Run a plan: resume, schedule training and timing jobs, and store every record."""
