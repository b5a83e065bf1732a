"""Compute the rows, series and labels that reports show. No module in this package draws figures."""
