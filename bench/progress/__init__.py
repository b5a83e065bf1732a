"""Show progress, estimate the remaining time, and measure utilization."""
