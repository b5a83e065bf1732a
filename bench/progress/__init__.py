"""Show progress, estimate the remaining time, measure utilization."""
